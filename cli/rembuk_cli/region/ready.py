"""Whether a service on this machine says that it is ready."""

from __future__ import annotations

import socket
from contextlib import suppress

from rembuk.embedded.server import HOST


def answers_ready(port: int) -> bool:
    """Whether the service there says that it is ready: spoken by hand, an HTTP library would weigh 6 MB."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return connection.recv(64).startswith(b"HTTP/1.1 200")
    return False
