"""A few questions to NATS, by its protocol itself: a command that asks three of them and ends would wait longer for
nats-py to be imported (75 ms) than for all the answers. tests/shared/broker/test_nats_asking.py holds it against
nats-py."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from rembuk.broker.nats_wire import parse_header_lines
from rembuk.broker.stream_names import OWN_INBOX

PORT = 4222
ANSWER_S = 5.0
_NOBODY = b"NATS/1.0 503"


class Unanswered(Exception):
    """NATS does not answer, nobody is there to answer, or it says no; in words."""


class NoStream(Unanswered):
    """There is no such stream, or nothing at that position of it."""


class StreamTail(NamedTuple):
    """The end of a stream: its last sequence, and how many messages it holds."""

    sequence: int
    messages: int


class Asking:
    """A connection that one question is put to after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inbox: str) -> None:
        self._reader, self._writer = reader, writer
        self._inbox, self._asked = f"{inbox}.{secrets.token_hex(11)}", 0

    async def ask(self, subject: str, data: bytes = b"", timeout_s: float = ANSWER_S) -> bytes:
        """What the first who answers says. Raises Unanswered."""
        self._asked += 1
        answer_to = f"{self._inbox}.{self._asked}"
        self._writer.write(f"PUB {subject} {answer_to} {len(data)}\r\n".encode() + data + b"\r\n")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer(answer_to.encode())
        except TimeoutError:
            raise Unanswered(f"no answer from {subject} within {timeout_s:.0f} s") from None
        except (OSError, EOFError, ValueError) as error:
            raise Unanswered(f"the connection was lost: {error!r}") from error

    async def tail(self, stream: str) -> StreamTail:
        """Raises Unanswered."""
        state = (await self._api(f"STREAM.INFO.{stream}"))["state"]
        return StreamTail(int(state["last_seq"]), int(state["messages"]))

    async def headers(self, stream: str, sequence: int) -> dict[str, str]:
        """Of the message at a sequence of a stream. Raises Unanswered."""
        said = await self._api(f"STREAM.MSG.GET.{stream}", json.dumps({"seq": sequence}).encode())
        return parse_header_lines(base64.b64decode(said["message"].get("hdrs", "")).partition(b"\r\n")[2])

    async def _api(self, what: str, data: bytes = b"") -> dict[str, Any]:
        said: dict[str, Any] = json.loads(await self.ask(f"$JS.API.{what}", data))
        if error := said.get("error"):
            raise (NoStream if error["code"] == 404 else Unanswered)(f"JetStream says: {error['description']}")
        return said

    async def _open(self, url: SplitResult, name: str) -> None:
        """Say who we are, and listen to what answers. Raises Unanswered, OSError, EOFError, ValueError."""
        word, _, told = (await self._line()).partition(b" ")
        if word != b"INFO":
            raise ValueError("not a nats-server")
        server = json.loads(told)
        if url.scheme == "tls" or server.get("tls_required"):
            import ssl

            await self._writer.start_tls(ssl.create_default_context(), server_hostname=url.hostname)
        connect = {"name": name, "lang": "python", "version": "1", "protocol": 1, "verbose": False, "pedantic": False}
        connect |= {"headers": True, "no_responders": True, "echo": False}
        if url.password is not None:
            connect |= {"user": url.username, "pass": url.password}
        elif url.username is not None:
            connect["auth_token"] = url.username
        self._writer.write(f"CONNECT {json.dumps(connect)}\r\nSUB {self._inbox}.* 1\r\nPING\r\n".encode())
        while (line := await self._line()) != b"PONG":
            self._heed(line)

    async def _answer(self, answer_to: bytes) -> bytes:
        while True:
            line = await self._line()
            word, *what = line.split()
            if word not in (b"MSG", b"HMSG"):
                self._heed(line)
                continue
            payload = (await self._reader.readexactly(int(what[-1]) + 2))[:-2]
            headed = int(what[-2]) if word == b"HMSG" else 0
            if what[0] != answer_to:  # to an earlier question that nobody waits for any more
                continue
            if payload[:headed].startswith(_NOBODY):
                raise Unanswered("nobody is there to answer")
            return payload[headed:]

    async def _line(self) -> bytes:
        line = await self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("closed by the server")
        return line[:-2]

    def _heed(self, line: bytes) -> None:
        """What the server says beside answers. Raises Unanswered."""
        if line.startswith(b"-ERR"):
            raise Unanswered(line.decode(errors="replace"))
        if line == b"PING":
            self._writer.write(b"PONG\r\n")


@asynccontextmanager
async def asking(url: str, name: str, connect_s: float, inbox: str = OWN_INBOX) -> AsyncIterator[Asking]:
    """A connection to NATS for the block, named `name` there, answered on subjects below `inbox`. Raises Unanswered."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    writer = None
    try:
        async with asyncio.timeout(connect_s):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or PORT)
            one = Asking(reader, writer, inbox)
            await one._open(parts, name)
    except (OSError, EOFError, ValueError, Unanswered) as error:  # a TimeoutError is an OSError
        if writer is not None:
            writer.transport.abort()
        raise Unanswered(str(error) or repr(error)) from error
    try:
        yield one
    finally:
        writer.transport.abort()
