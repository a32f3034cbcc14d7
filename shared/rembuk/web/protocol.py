"""HTTP on the wire: uvicorn's protocol, held to the letter of the standards, to deadlines and to a number of
connections; what is no HTTP is answered in problem details."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from rembuk.web.heads import Malformed, require_sound, target
from rembuk.web.problem_details import ProblemDetails
from rembuk.web.requests import MAX_BODY_BYTES
from rembuk.web.room import Room

WIRE = "rembuk.wire"

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and headers that do not come in one read of the socket (256 KiB)."""
MAX_REQUEST_BYTES = 8 * MAX_BODY_BYTES
"""Of a request in all, before the connection ends: what announces chunks may be a multiple of what is in them."""
CHUNK_BYTES = 20
"""What announces and ends a chunk; all else around a body's bytes, extensions and trailers, has the limit of a head."""
HEAD_S = 10.0
"""How long a head may take, the first of a connection from its beginning on."""
BODY_S, BYTES_PER_S = 15.0, 4096
"""How long a body may take: so many seconds, and one more for so many bytes that have come."""
KEEP_ALIVE_S = 65.0
"""How long an idle connection is kept, and one whose client takes nothing of an answer: longer than clients (httpx:
5 s) and proxies (nginx: 60 s) do, so that it is they who end it. A server that ends it first may do so in the moment in
which a request is on its way."""
TAKEN_BYTES = 64 * 1024
"""What a client takes of an answer in that time, or all that is left of it: else it takes nothing."""
MAX_IN_LINE = 16
"""Requests of a connection that wait for the answer to one before them."""
LINGER_S = 2.0
"""How long a client may take to read why it is refused."""


class _Gathering:
    """A transport that writes at once what one turn of the event loop has to say: uvicorn writes head and body apart,
    and each write is a system call, a tenth of what accepting a report costs."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def write_whole(self, data: bytes) -> None:
        """Write what needs nothing to gather with it."""
        self.flush()
        self._transport.write(data)

    def write_eof(self) -> None:
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Write what has gathered; nothing where the client has left in the meantime."""
        parts, self._parts = self._parts, []
        if parts and not self.is_closing():
            self._transport.write(b"".join(parts))


class Wire(Protocol):
    """What an application may ask of the connection that its scope has as the extension `WIRE`."""

    async def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Answer with these lines of a head, each ending in CRLF, the length not among them, and this body: in place of
        two messages, which are looked at once more on their way. Nothing is said to a client that has left."""

    def when_closing(self, call: Callable[[], None]) -> None:
        """Have something done once the server stops: answers that go on for ever end then."""

    def abort(self) -> None:
        """End it at once, whatever was not taken yet."""


class _Refusal(Exception):
    """What a client hears before the connection ends."""

    def __init__(self, status: int, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.rule, self.detail = status, rule, detail

    @property
    def answer(self) -> bytes:
        title = self.rule.replace("-", " ").capitalize()
        body = msgspec.json.encode(ProblemDetails(f"/problems/{self.rule}", title, self.status, self.detail))
        again = b"retry-after: 1\r\n" if self.status == 503 else b""
        headers = b"content-type: application/problem+json\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n"
        return STATUS_LINE[self.status] + headers % (len(body), again) + body


_NO_ROOM = _Refusal(503, "temporarily-unavailable", "as many connections are open as may be; try again")
_NO_HTTP = _Refusal(400, "malformed-input", "Invalid HTTP request received.")
_TOO_SLOW = _Refusal(408, "too-slow", "the request did not come in time")
_TOO_MANY = _Refusal(429, "too-many-at-once", f"{MAX_IN_LINE} requests may wait in line on a connection")
_HEAD_TOO_LARGE = _Refusal(431, "head-too-large", f"a request's head may have {MAX_HEAD_BYTES} bytes")
_FRAMING_TOO_LARGE = _Refusal(
    431, "framing-too-large", f"chunk extensions and trailers of a request may have {MAX_HEAD_BYTES} bytes"
)
_BODY_TOO_LARGE = _Refusal(413, "body-too-large", f"a request's body may have {MAX_BODY_BYTES} bytes")


class Connection(HttpToolsProtocol):
    """One connection; `room` is that of all."""

    _in_head = True
    _size = 0  # bytes of the request in hand
    _read = 0  # bytes of the read in hand
    _framing = 0  # bytes since the head's last read that are neither of a body nor needed for its chunks
    _between = True  # the requests so far are complete
    _shared = False  # the read in hand has bytes of another request than the one that begins
    _requests = 0
    _changing = False  # the request in hand asks for another protocol
    _refusal: _Refusal | None = None
    _refused = False  # and has heard so

    _answering: RequestResponseCycle
    _when_closing: Callable[[], None] | None = None

    def __init__(self, room: Room, **server: Any) -> None:
        super().__init__(**server)
        self._room = room

    async def whole(self, status: int, fields: bytes, body: bytes) -> None:
        cycle = self._answering
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        ours = b"".join([b"%b: %b\r\n" % field for field in cycle.default_headers])
        close = b"" if cycle.keep_alive else b"connection: close\r\n"
        length = b"content-length: %d\r\n%b\r\n" % (len(body), close)
        self.transport.write_whole(b"".join((STATUS_LINE[status], ours, fields, length, body)))  # type: ignore[attr-defined]
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if close:
            self.transport.close()
        cycle.on_response()

    def when_closing(self, call: Callable[[], None]) -> None:
        self._when_closing = call

    def abort(self) -> None:
        self.transport.abort()

    def shutdown(self) -> None:
        super().shutdown()
        if self._refused:
            self.transport.close()
        if self._when_closing is not None:
            self._when_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]
        if self._room.enter(self, self.client[0] if self.client else "", self.loop):
            return
        if self._room.sees_off(self):
            self._refuse(_NO_ROOM)
        else:
            self._refusal = _NO_ROOM
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.leave(self)
        super().connection_lost(exc)

    def standing(self) -> tuple[Any, ...]:
        unsent = -(-self.transport.get_write_buffer_size() // TAKEN_BYTES)
        return self._requests, self._in_head, self._between, self._refused, self._is_answered(), unsent

    def patience(self) -> float | None:
        if self._refused or (self.transport.is_closing() and not self.transport.get_write_buffer_size()):
            return LINGER_S
        if not self._is_answered() and (self._between or self._in_head):
            return None
        if self._in_head:
            return HEAD_S
        return KEEP_ALIVE_S if self._between else BODY_S + self._size / BYTES_PER_S

    def end(self) -> None:
        if self._refused or self.transport.get_write_buffer_size():
            self.abort()
        elif self._between:
            self.transport.close()
        else:
            self._refuse(_TOO_SLOW)

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._read, self._shared = len(data), not self._between
        within_body = not self._between and not self._in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_unchanged(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            why = error.__context__
            self._refuse(why if isinstance(why, _Refusal) else _NO_HTTP)
            return
        if not self._between and not self.transport.is_closing():
            self._size += len(data)
            self._framing = self._framing + len(data) if within_body else 0
            if self._in_head and self._size > MAX_HEAD_BYTES:
                self._refuse(_HEAD_TOO_LARGE)
            elif self._framing > MAX_HEAD_BYTES:
                self._refuse(_FRAMING_TOO_LARGE)
            elif self._size > MAX_REQUEST_BYTES:
                self._refuse(_BODY_TOO_LARGE)

    def eof_received(self) -> None:
        """The client has said all: the transport closes after this, an answer that is ready goes first."""
        self.transport.flush()  # type: ignore[attr-defined]

    def on_message_begin(self) -> None:
        self._in_head = True
        self._requests += 1
        self._size = -self._read if self._shared else 0
        self._between, self._shared = False, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        version, method = self.parser.get_http_version(), self.parser.get_method()
        if len(self.pipeline) >= MAX_IN_LINE:
            raise _TOO_MANY
        try:
            if version not in ("1.1", "1.0"):
                raise Malformed("HTTP/1.1 is spoken here", 505)
            if method == b"CONNECT":
                raise Malformed("nobody is connected to anybody here", 405)
            require_sound(version, self.headers, dict(self.headers))
            asked = target(method, self.url)
        except Malformed as error:
            raise _Refusal(error.status, "malformed-input", str(error)) from error
        self._in_head = False
        self._changing = self.parser.should_upgrade()
        if not self._changing:
            self._begin(version, method.decode(), asked)
            self.headers = []  # what trails a body is no part of what was asked

    def _begin(self, version: str, method: str, asked: bytes) -> None:
        """Have the request answered, after those before it. As uvicorn does, but for what `target` has seen to."""
        scope, earlier = self.scope, self.cycle
        path, _, query = asked.partition(b"?")
        scope["method"], scope["http_version"] = method, version
        scope["path"], scope["raw_path"], scope["query_string"] = path.decode("ascii"), path, query
        self.cycle = cycle = RequestResponseCycle(
            scope, self.transport, self.flow, self.logger, self.access_logger, self.access_log,
            self.server_state.default_headers, asyncio.Event(), self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(), on_response=self.on_response_complete,
        )  # fmt: skip
        scope["extensions"] = {WIRE: self}  # type: ignore[dict-item]  # not the cycle: nobody would break that circle
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        super().on_body(body)

    def on_chunk_header(self) -> None:
        self._framing -= CHUNK_BYTES

    def on_message_complete(self) -> None:
        self._between = True
        if not self._changing:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """What stands in line is next; who sends nothing more is the room's to end."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._say_why()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle  # one at a time, whatever was read in the meantime
        super()._start_asgi_task(cycle, app)

    def _go_on_unchanged(self, rest: bytes) -> None:
        """Whoever offers to go on in another protocol is answered in this one (RFC 9110, 7.8), body and all: the
        parser, which stops behind the head, begins anew with what it read, but for the offer."""
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._between, self._changing = True, False
        self.data_received(b"".join((line, *fields, b"\r\n", rest)))

    def _refuse(self, why: _Refusal) -> None:
        """Take nothing more, and say why as soon as what was asked before is answered."""
        if self._refusal is not None:
            return
        self._refusal = why
        handed_on = not self._between and not self._in_head
        if handed_on and self.pipeline:
            self.pipeline.popleft()
        elif handed_on and self.cycle.response_started:
            self.transport.close()
        elif handed_on or self._is_answered():
            self._say_why()

    def _say_why(self) -> None:
        """Half-closed, so that it can be read while the client is still sending."""
        assert self._refusal is not None
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self.transport.write(self._refusal.answer)
        self.transport.write_eof()
