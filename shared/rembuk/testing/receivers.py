"""Real receivers for tests of what leaves the house: an SMTP server and a webhook's sink; each can be told to fail."""

from __future__ import annotations

import email
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, TypeVar

import pytest
from aiosmtpd.controller import Controller

from rembuk.testing.ports import free_ports
from rembuk.testing.services import eventually

T = TypeVar("T")


class Mailbox:
    """An aiosmtpd handler that keeps what it is given: mails as they are read, and as they came. `answers` are given
    to mails before it takes any; `refuses` tells what it answers to a recipient, `asked` who was named as one."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.written: list[bytes] = []
        self.answers: list[str] = []
        self.refuses: dict[str, str] = {}
        self.asked: list[str] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]) -> str:
        self.asked.append(address)
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.answers:
            return self.answers.pop(0)
        mail = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.written.append(envelope.content)
        return "250 taken"

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.mails if mail["To"] == address]

    def code_for(self, address: str) -> str:
        """The code of the only mail to that address, once it came."""

        def came() -> str:
            return digits(only(self.to(address)).get_content())

        return eventually(came)


def only(things: list[T]) -> T:
    """The one thing there is; none or several fail the test, or are waited out by `eventually`."""
    assert len(things) == 1, things
    return things[0]


def digits(text: str) -> str:
    found = re.search(r"\b\d{8}\b", text)
    assert found is not None
    return found[0]


@pytest.fixture(scope="session")
def smtp() -> Iterator[tuple[str, Mailbox]]:
    """The URL of a running SMTP server, and its mailbox."""
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_ports())
    controller.start()
    yield f"smtp://127.0.0.1:{controller.port}", mailbox
    controller.stop()


@dataclass
class Posted:
    """One request that came to the sink."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Sink:
    """A webhook's receiver. `status` tells what it answers to a path (200 by default); with `hold` it takes a request
    and answers only when that is set. `headers` are those of its answers to a path."""

    url: str
    posted: list[Posted] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    hold: Event | None = None

    def at(self, path: str, kind: str = "alert.raised") -> list[Posted]:
        return [one for one in list(self.posted) if one.path == path and one.json["type"] == kind]


@pytest.fixture(scope="session")
def sink() -> Iterator[Sink]:
    receiver = Sink("")

    class WebhookHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the sender was killed as it wrote
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.posted.append(Posted(self.path, headers, body))
            if receiver.hold is not None:
                receiver.hold.wait(30)
            self.send_response(receiver.status.get(self.path, 200))
            for name, value in receiver.headers.get(self.path, {}).items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), WebhookHandler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield receiver
    server.shutdown()


@pytest.fixture(scope="session")
def silent() -> Iterator[str]:
    """The URL of a socket that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
