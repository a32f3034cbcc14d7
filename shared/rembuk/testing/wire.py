"""HTTP as bytes, for requests that no client would send."""

from __future__ import annotations

import http.client
import io
import socket
from typing import NamedTuple
from urllib.parse import urlsplit


class RawResponse(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def asked(head: str, *headers: str | bytes, body: bytes = b"", length: str | None = None) -> bytes:
    """A request as it goes over the wire. `length` lies about the body's; "" says nothing of it."""
    claimed = str(len(body)) if length is None else length
    lines = [f"{head} HTTP/1.1", "Host: rembuk", "Connection: close", *headers]
    if claimed:
        lines.append(f"Content-Length: {claimed}")
    return b"\r\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\r\n\r\n" + body


def sent(url: str, request: bytes) -> RawResponse:
    """What is answered until the connection ends; what is not read any more may be lost."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as wire:
        data = b""
        try:
            wire.sendall(request)
            while more := wire.recv(65536):
                data += more
                if _complete(data):
                    break
        except ConnectionError:
            pass
    answer = http.client.HTTPResponse(_Wire(data))  # type: ignore[arg-type]
    answer.begin()
    return RawResponse(answer.status, answer.headers, answer.read())


class _Wire:
    """Bytes as the socket that `http.client` reads an answer from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _complete(data: bytes) -> bool:
    head, end, rest = data.partition(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return bool(end) and len(rest) >= int(length.partition(b":")[2])
