"""A mail server. The recipient decides whether it accepts, delays or refuses a mail. The subject decides
its reply to the final dot.

It prints its port, then one line of JSON for each mail. With two arguments, user and password, it
requires a login.
"""

import asyncio
import email.policy
import json
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

REPLIES = {
    "gone": "550 5.1.1 <{}>: no such user",
    "old": "550 no such user {}",
    "busy": "451 4.2.1 <{}> is busy",
    "denied": "554 5.7.1 <{}>: Relay access denied",
    "login": "530 5.7.0 Authentication required",
}


class Handler:
    peers = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        reply = REPLIES.get(address.partition("@")[0])
        if reply:
            return reply.format(address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        if mail["Subject"] == "spam":
            return "554 5.6.0 this content is not welcome here"
        if mail["Subject"] == "later":
            return "451 4.3.0 not now"
        if session.peer not in self.peers:
            self.peers.append(session.peer)
        parts = [
            {"type": part.get_content_type(), "name": part.get_filename(), "content": text(part)}
            for part in mail.walk()
            if not part.is_multipart()
        ]
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": dict(mail.items()),
            "parts": parts,
            "connections": len(self.peers),
        }), flush=True)
        # The mail is accepted. The reply follows from the subject.
        match mail["Subject"]:
            case "hangs":
                await asyncio.sleep(3600)
            case "drops":
                server.transport.abort()
            case "garbled":
                return "nonsense"
            case "goes on":
                return "354 go on"
        return "250 OK"


def text(part):
    content = part.get_content()
    return content if isinstance(content, str) else content.decode()


options = {}
if len(sys.argv) == 3:
    login = tuple(word.encode() for word in sys.argv[1:])

    def authenticate(server, session, envelope, mechanism, data):
        # With handled=False, the server itself answers 535 to a failure.
        return AuthResult(success=(data.login, data.password) == login, handled=False)

    options = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}


class AnyPort(Controller):
    """Listens on a free port. A controller connects to its own port to check that it runs, so it must
    know the port that replaced 0."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


controller = AnyPort(Handler(), hostname="127.0.0.1", port=0, enable_SMTPUTF8=True, **options)
controller.start()
print(controller.port, flush=True)
threading.Event().wait()
