"""HTTP on the wire: uvicorn's protocol, which answers what is no HTTP in problem details and ends endless heads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from rembuk.web.problem_details import ProblemDetails

WIRE = "rembuk.wire"

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and headers that do not come in one read of the socket (256 KiB)."""


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

    def when_closing(self, call: Callable[[], None]) -> None:
        """Have something done once the server stops: answers that go on for ever end then."""

    def abort(self) -> None:
        """End it at once, whatever was not taken yet."""


class Connection(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    _head_bytes = 0
    _read = 0  # bytes of the read in hand
    _between = True  # the requests so far are complete
    _shared = False  # the read in hand has bytes of another request than the one that begins

    _when_closing: Callable[[], None] | None = None

    def when_closing(self, call: Callable[[], None]) -> None:
        self._when_closing = call

    def abort(self) -> None:
        self.transport.abort()

    def shutdown(self) -> None:
        super().shutdown()
        if self._when_closing is not None:
            self._when_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        self._read, self._shared = len(data), not self._between
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "head-too-large", f"a request's head may have {MAX_HEAD_BYTES} bytes")

    def eof_received(self) -> None:
        """The client has said all: the transport closes after this, an answer that is ready goes first."""
        self.transport.flush()  # type: ignore[attr-defined]

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = -self._read if self._shared else 0
        self._between, self._shared = False, True
        super().on_message_begin()
        self.scope["extensions"] = {WIRE: self}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "malformed-input", msg)

    def _refuse(self, status: int, rule: str, detail: str) -> None:
        body = msgspec.json.encode(
            ProblemDetails(f"/problems/{rule}", rule.replace("-", " ").capitalize(), status, detail)
        )
        headers = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + headers % len(body) + body)
        self.transport.close()
