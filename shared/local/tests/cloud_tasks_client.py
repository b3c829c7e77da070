"""Uses the stand-in for Cloud Tasks at the URL in the first argument with Google's client."""

import datetime
import http.server
import sys
import threading

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksRestTransport

host = sys.argv[1].removeprefix("http://")
transport = CloudTasksRestTransport(host=host, credentials=AnonymousCredentials(), url_scheme="http")
client = tasks_v2.CloudTasksClient(transport=transport)
location = "projects/p/locations/l"
queue = f"{location}/queues/q"
received = []
arrived = threading.Event()


class Target(http.server.BaseHTTPRequestHandler):
    """Fails the first request."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        received.append((self.path, self.headers["X-Note"], body))
        self.send_response(500 if len(received) == 1 else 200)
        self.end_headers()
        if len(received) == 2:
            arrived.set()

    def log_message(self, *arguments):
        pass


def refuses(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"{error.__name__} was expected")


target = http.server.HTTPServer(("127.0.0.1", 0), Target)
threading.Thread(target=target.serve_forever, daemon=True).start()
now = datetime.datetime.now(datetime.timezone.utc)


def task(name, after, body=b"body"):
    request = tasks_v2.HttpRequest(
        url=f"http://127.0.0.1:{target.server_port}/target",
        http_method=tasks_v2.HttpMethod.POST,
        headers={"X-Note": "note"},
        body=body,
    )
    time = now + after
    return tasks_v2.Task(name=f"{queue}/tasks/{name}" if name else "", http_request=request, schedule_time=time)


def create(*arguments):
    return client.create_task(parent=queue, task=task(*arguments))


hour, hours = datetime.timedelta(hours=1), datetime.timedelta(hours=721)
refuses(exceptions.NotFound, lambda: create("a", hour))
client.create_queue(parent=location, queue=tasks_v2.Queue(name=queue))
refuses(exceptions.Conflict, lambda: client.create_queue(parent=location, queue=tasks_v2.Queue(name=queue)))
created = create("a", hour, b"\x00\xff")
assert created.name == f"{queue}/tasks/a" and created.schedule_time > now, created
assert created.http_request.http_method == tasks_v2.HttpMethod.POST, created
refuses(exceptions.Conflict, lambda: create("a", hour))
refuses(exceptions.BadRequest, lambda: create("b", hours))
refuses(exceptions.BadRequest, lambda: create("not a name", hour))
unnamed = create(None, hour)
assert unnamed.name.startswith(f"{queue}/tasks/"), unnamed
assert client.get_task(name=created.name).http_request.body == b"\x00\xff"
names = {found.name for found in client.list_tasks(request={"parent": queue, "page_size": 1})}
assert names == {created.name, unnamed.name}, names
client.delete_task(name=unnamed.name)
refuses(exceptions.NotFound, lambda: client.delete_task(name=unnamed.name))
refuses(exceptions.NotFound, lambda: client.get_task(name=unnamed.name))
client.run_task(name=created.name)
assert arrived.wait(20), "a task that fails is tried again"
assert received == [("/target", "note", b"\x00\xff")] * 2, received
print("all is as with Cloud Tasks")
