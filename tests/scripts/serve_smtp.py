"""An SMTP server on the loopback interface: `serve_smtp.py FOLDER CERTIFICATE KEY PLAIN STARTTLS TLS` (three ports).

PLAIN takes mail from anybody; the other two want encryption and the log-in of USER. A recipient's name says how it is
treated: `refused…` never, `later…` at the second attempt; `silent…` gets no reply; `linger…` gets mail, and no farewell.

Each mail becomes a file N.json in FOLDER: envelope, headers and parts as Python's email package reads them, and `fields`,
what a filter makes of the text of GCN's former mails. Each attempt is a line of `attempts`.
"""

import asyncio
import base64
import collections
import email
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER = LoginPassword(b"observer", b"a-mail-secret-0123456789")

folder = pathlib.Path(sys.argv[1])
certificate, key = sys.argv[2:4]
plain, starttls, tls = map(int, sys.argv[4:7])
attempts = collections.Counter()
count = 0


def log_in(server, session, envelope, mechanism, login):
    if login == USER:
        return AuthResult(success=True)
    # Some servers repeat what they were sent.
    message = f"535 5.7.8 no user has the password {login.password.decode()}"
    return AuthResult(success=False, handled=False, message=message)


def part(message):
    content = message.get_payload(decode=True) or b""
    return {
        "type": message.get_content_type(),
        "encoding": message.get("Content-Transfer-Encoding"),
        "disposition": message.get_content_disposition(),
        "id": message.get("Content-ID"),
        "file": message.get_filename(),
        "bytes": len(content),
        "base64": base64.b64encode(content).decode(),
    }


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        attempts[address] += 1
        with (folder / "attempts").open("a") as log:
            log.write(address + "\n")
        if address.startswith("silent"):
            await asyncio.Event().wait()
        if address.startswith("refused"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later") and attempts[address] == 1:
            return "450 4.2.0 greylisted, try again"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        global count
        count += 1
        message = email.message_from_bytes(envelope.content)
        parts = [part(leaf) for leaf in message.walk() if not leaf.is_multipart()]
        texts = [leaf.get_payload() for leaf in message.walk() if leaf.get_content_type() == "text/plain"]
        fields = email.message_from_string(texts[0])
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "is_encrypted": server.transport.get_extra_info("sslcontext") is not None,
            "is_logged_in": bool(session.authenticated),
            "hello": session.host_name,
            "headers": message.items(),
            "structure": [one.get_content_type() for one in message.walk()],
            "parts": parts,
            "fields": fields.items(),
        }
        unfinished = folder / f"{count}.unfinished"
        unfinished.write_text(json.dumps(mail))
        unfinished.rename(folder / f"{count}.json")
        session.lingers = envelope.rcpt_tos[0].startswith("linger")
        return "250 2.0.0 kept"

    async def handle_QUIT(self, server, session, envelope):
        if getattr(session, "lingers", False):
            await asyncio.Event().wait()
        return "221 2.0.0 bye"


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    wants_log_in = {"authenticator": log_in, "auth_required": True}

    servers = [
        await loop.create_server(lambda: SMTP(Handler(), loop=loop), "127.0.0.1", plain),
        await loop.create_server(
            lambda: SMTP(Handler(), loop=loop, tls_context=context, require_starttls=True, **wants_log_in),
            "127.0.0.1",
            starttls,
        ),
        # It does not know that TLS is there already.
        await loop.create_server(
            lambda: SMTP(Handler(), loop=loop, auth_require_tls=False, **wants_log_in), "127.0.0.1", tls, ssl=context
        ),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
