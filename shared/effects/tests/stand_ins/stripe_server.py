"""localstripe with what it lacks: Stripe's idempotency keys
(https://docs.stripe.com/api/idempotent_requests), the refusal to refund more than a charge, and `off_session` for a
confirmation (https://docs.stripe.com/api/payment_intents/confirm). It prints its port, then one line of JSON for each
POST with a key. `POST /_config/forget_keys` does what Stripe does after a day.
"""

import json
import socket

from aiohttp import web
from localstripe import resources
from localstripe.resources import store


def confirm(id, off_session=None, **data):
    if off_session != "true":
        raise ValueError("the customer is not there")
    return resources.PaymentIntent._api_confirm(id, **data)


CONFIRM = "/v1/payment_intents/{id}/confirm"
resources.extra_apis[:] = [
    (method, path, confirm if path == CONFIRM else api) for method, path, api in resources.extra_apis
]

# The routes are made from the list.
from localstripe.server import app

# Key -> the request and its answer.
answers = {}


def is_refunded(form):
    charge = store.get("payment_intent:" + form.get("payment_intent", ""))
    return charge and charge.latest_charge and charge.latest_charge.refunded


@web.middleware
async def refunds(request, handler):
    if request.method == "POST" and request.path == "/v1/refunds" and is_refunded(await request.post()):
        error = {"type": "invalid_request_error", "code": "charge_already_refunded"}
        return web.json_response({"error": error}, status=400)
    return await handler(request)


async def forget_keys(request):
    answers.clear()
    return web.Response()


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
app.middlewares.insert(0, refunds)
app.middlewares.insert(0, idempotency)
app.router.add_post("/_config/forget_keys", forget_keys)
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
web.run_app(app, sock=server, print=None)
