"""localstripe with Stripe's idempotency keys (https://docs.stripe.com/api/idempotent_requests), which it
lacks. It prints its port, then one line of JSON for each POST with a key.
"""

import json
import socket

from aiohttp import web
from localstripe.resources import store
from localstripe.server import app

# Key -> the request and its answer.
answers = {}


@web.middleware
async def idempotency(request, handler):
    key = request.headers.get("Idempotency-Key")
    if request.method != "POST" or key is None:
        return await handler(request)
    asked = (request.path, await request.read())
    replayed = key in answers
    print(json.dumps({"key": key, "version": request.headers.get("Stripe-Version"), "replayed": replayed}), flush=True)
    if replayed and answers[key][0] != asked:
        return web.json_response({"error": {"type": "idempotency_error"}}, status=400)
    if not replayed:
        response = await handler(request)
        # Stripe remembers a key once it has begun to work on the request. A wrong secret key ends before that.
        if response.status == 401:
            return response
        answers[key] = (asked, response.status, response.body)
    _, status, body = answers[key]
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


# localstripe would write its state to a file in /tmp that every localstripe on the machine shares.
type(store).dump_to_disk = lambda self: None
app.middlewares.insert(0, idempotency)
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
web.run_app(app, sock=server, print=None)
