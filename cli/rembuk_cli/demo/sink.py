"""Where the demo's messages arrive: the least that is a mail server (RFC 5321), and the least that is a webhook's
receiver, which checks the signature (Standard Webhooks). For the demo alone: it takes everything and keeps nothing."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Callable
from contextlib import suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from hashlib import sha256
from typing import Any

import msgspec
from rembuk.embedded.server import HOST

LONGEST_LINE = 1 << 20


class Mail(msgspec.Struct, frozen=True):
    """An e-mail that arrived."""

    to: str
    subject: str
    text: str


class Hook(msgspec.Struct, frozen=True):
    """A webhook call that arrived; `signed` tells whether its signature is that of the secret."""

    type: str
    data: dict[str, Any]
    signed: bool


class DemoReceivers:
    """Both receivers; what comes is told to `arrived` and kept in order of arrival."""

    def __init__(self, arrived: Callable[[Mail | Hook], None]) -> None:
        self._arrived = arrived
        self._servers: list[asyncio.Server] = []
        self.hook_url = ""
        self.secret = ""

    async def start(self, mail_port: int) -> None:
        """Raises OSError when the port is taken."""
        self._servers.append(await asyncio.start_server(self._take_mail, HOST, mail_port, limit=LONGEST_LINE))
        hooks = await asyncio.start_server(self._take_hook, HOST, 0, limit=LONGEST_LINE)
        self._servers.append(hooks)
        self.hook_url = f"http://{HOST}:{hooks.sockets[0].getsockname()[1]}/rembuk"

    async def stop(self) -> None:
        for server in self._servers:
            server.close()

    async def _take_mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")

        with suppress(ConnectionError, asyncio.IncompleteReadError):
            say("220 rembuk demo")
            while line := await reader.readline():
                match line.split(maxsplit=1)[0].upper() if line.strip() else b"":
                    case b"DATA":
                        say("354 go on, end with a dot")
                        self._arrived(_mail(await reader.readuntil(b"\r\n.\r\n")))
                        say("250 taken")
                    case b"QUIT":
                        say("221 bye")
                        break
                    case b"EHLO" | b"HELO" | b"MAIL" | b"RCPT" | b"RSET" | b"NOOP":
                        say("250 fine")
                    case _:
                        say("500 this is only a demo")
            await writer.drain()
        writer.close()

    async def _take_hook(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = (line.partition(": ") for line in head.decode("latin-1").split("\r\n"))
                said = {name.lower(): value for name, _, value in lines}
                body = await reader.readexactly(int(said.get("content-length", "0")))
                call = msgspec.json.decode(body)
                self._arrived(Hook(call["type"], call["data"], self._is_signed(said, body)))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()

    def _is_signed(self, said: dict[str, str], body: bytes) -> bool:
        signed = f"{said.get('webhook-id')}.{said.get('webhook-timestamp')}.".encode() + body
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        right = base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
        return hmac.compare_digest(said.get("webhook-signature", ""), f"v1,{right}")


def _mail(data: bytes) -> Mail:
    message: EmailMessage = message_from_bytes(data.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n."), policy=default)
    body = message.get_body(("plain",))
    return Mail(str(message["To"]), str(message["Subject"]), body.get_content() if body else "")
