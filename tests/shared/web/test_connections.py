"""How a server treats connections: each answer in its turn, nobody waited for too long, room for whoever comes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from rembuk.testing.services import eventually
from rembuk.testing.wire import sent
from rembuk.web import protocol, room
from rembuk.web.protocol import Connection
from rembuk.web.room import Room

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
MOST = 16


async def echo(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Answers with the body, after a moment."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        body, more = body + message["body"], message["more_body"]
    await asyncio.sleep(0.05)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(app: Any = echo) -> Iterator[int]:
    """A server in this process, and its port."""
    config = uvicorn.Config(
        app, port=0, loop="uvloop", http=partial(Connection, Room(MOST)), ws="none", lifespan="off", log_config=None
    )  # type: ignore[arg-type]
    server, listening = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)  # little waits in the kernel
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        eventually(lambda: _require(server.started))
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def _require(it: object) -> None:
    assert it


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that soon loses patience."""
    for name, value in (("HEAD_S", 0.4), ("BODY_S", 0.4), ("KEEP_ALIVE_S", 0.4), ("LINGER_S", 0.2)):
        monkeypatch.setattr(protocol, name, value)
    monkeypatch.setattr(room, "LOOK_S", 0.1)
    monkeypatch.setattr(room, "SETTLED_S", 0.2)
    with serving() as port:
        yield port


def connected(port: int, data: bytes = b"") -> socket.socket:
    wire = socket.create_connection(("127.0.0.1", port), timeout=10)
    wire.sendall(data)
    return wire


def rest(wire: socket.socket) -> bytes:
    """Everything that comes until the server ends the connection."""
    data = b""
    while more := wire.recv(65536):
        data += more
    return data


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"", b""),
        (b"GET / HT", b"408"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"408"),
        (POST + b"{", b"408"),
        (GET, b"200"),
    ],
    ids=["nothing", "a line", "a head", "a body", "nothing more"],
)
def test_nobody_is_waited_for_too_long(port: int, begun: bytes, status: bytes) -> None:
    """In silence where nothing was begun; else with a word."""
    answer = rest(connected(port, begun))
    assert answer[9:12] == status
    assert answer.count(b"HTTP/1.1") == bool(status)


async def in_one_piece(scope: Any, receive: Any, send: Callable[..., Any]) -> None:
    """As below, but by the extension."""
    await scope["extensions"][protocol.WIRE].whole(201, b'etag: "1"\r\n', scope["raw_path"] * 3)


async def in_two(scope: Any, receive: Any, send: Callable[..., Any]) -> None:
    body = scope["raw_path"] * 3
    headers = [(b"etag", b'"1"'), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("fields", [b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("times", [1, 9])
def test_an_answer_in_one_piece_is_on_the_wire_what_two_messages_are(fields: bytes, version: bytes, times: int) -> None:
    asked = [b"GET /%d HTTP/%b\r\nHost: x\r\n%b\r\n" % (n, version, fields) for n in range(times)]
    answers = []
    for app in (in_one_piece, in_two):
        with serving(app) as port, connected(port, b"".join(asked)) as wire:
            wire.shutdown(socket.SHUT_WR)
            answers.append(re.sub(rb"date: .*?\r\n", b"", rest(wire)))
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 201 Created\r\n")


@pytest.mark.parametrize("app", [in_one_piece, in_two])
def test_a_request_leaves_nothing_for_the_garbage_collector(app: Any) -> None:
    """Circles, one a request, cost an API a sixth of its processor time and doubled its p99."""

    def ask(times: int) -> None:
        for _ in range(times):
            wire.sendall(GET)
            assert wire.recv(4096).endswith(b"///")

    with serving(app) as port, connected(port) as wire:
        ask(5)
        gc.collect()
        gc.disable()
        try:
            ask(200)
            left = gc.collect()
        finally:
            gc.enable()
    assert left < 200


def test_who_takes_nothing_of_an_answer_is_parted_with(port: int) -> None:
    async def large(scope: Any, receive: Any, send: Callable[..., Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * (64 << 20)})

    def gone() -> None:
        try:
            wire.send(b"\r\n")
        except OSError:
            return
        raise AssertionError

    with serving(large) as port:
        wire = connected(port, GET)
        eventually(gone)


def test_who_takes_little_of_an_answer_is_parted_with_and_who_takes_it_all_has_it(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "TAKEN_BYTES", 1 << 18)
    monkeypatch.setattr(protocol, "KEEP_ALIVE_S", 1.5)  # within which the kernel takes something, if little

    async def large(scope: Any, receive: Any, send: Callable[..., Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8388608")]})
        await send({"type": "http.response.body", "body": b"x" * (8 << 20)})

    with serving(large) as port:
        assert len(rest(connected(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))) > 8 << 20
        slow, taken = socket.socket(), 0
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        slow.connect(("127.0.0.1", port))
        slow.sendall(GET)
        with contextlib.suppress(ConnectionResetError):
            while more := slow.recv(1 << 12):
                taken += len(more)
                time.sleep(0.05)
        assert taken < 4 << 20


def test_so_many_requests_wait_in_line_and_no_more(port: int) -> None:
    answers = rest(connected(port, GET * 200)).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * (protocol.MAX_IN_LINE + 1) + [b"429"]


def test_a_fault_is_told_after_what_was_asked_before_it(port: int) -> None:
    answers = rest(connected(port, POST + b"the first" + POST + b"the other" + b"no HTTP\r\n\r\n"))
    first, other, fault = answers.split(b"HTTP/1.1 ")[1:]
    assert (first[:3], other[:3], fault[:3]) == (b"200", b"200", b"400")
    assert first.endswith(b"the first")
    assert other.endswith(b"the other")


def test_a_fault_within_a_body_is_its_own(port: int) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    answers = rest(connected(port, POST + b"the first" + chunked)).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"400"]


def test_who_has_no_room_hears_so_and_who_says_nothing_makes_room(port: int) -> None:
    silent = [connected(port, POST + b"{") for _ in range(MOST // 2)]
    assert rest(connected(port)).startswith(b"HTTP/1.1 503")  # half is for other addresses
    other = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=("127.0.0.9", 0))
    other.sendall(GET)
    assert other.recv(100).startswith(b"HTTP/1.1 200")
    eventually(lambda: _require(sent(f"http://127.0.0.1:{port}", GET).status == 200), within=5)
    assert {rest(wire)[9:12] for wire in silent} == {b"408"}


def test_whoever_works_is_not_ended_to_make_room(port: int) -> None:
    """However many knock."""
    wires = [connected(port) for _ in range(MOST // 2)]
    for _ in range(10):
        for wire in wires:
            wire.sendall(GET)
        knocks = [connected(port) for _ in range(MOST)]
        for wire in wires:
            assert wire.recv(100).startswith(b"HTTP/1.1 200")
        for knock in knocks:
            knock.close()
