"""Whether a nats-server's JetStream still stores: where a write failed (a full disk) it refuses all others until it is
started again, while it goes on answering who connects. Its /healthz tells."""

from __future__ import annotations

import json
import re
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from rembuk.embedded.server import HOST
from rembuk.process import state_file

PATIENCE_S = 2.0
TOLD_WITHIN_S = 10.0
"""How long after its start a server has its file of ports; one that started on a full disk never has."""
_FAILED = re.compile(r"write error|JetStream not enabled")
"""Of what /healthz calls unavailable, what a start mends: a stream that cannot be read is another matter."""


class NatsHealth:
    """The monitoring of the nats-server that has the directory `data`: on a port of its own choice on 127.0.0.1, under
    a path that nobody guesses, since it asks nobody who he is."""

    def __init__(self, data: Path) -> None:
        self._data, self._path = data, data / "monitoring"

    def settings(self) -> dict[str, Any]:
        """What the server is told. Raises OSError, Damaged."""
        return {"http": f"{HOST}:-1", "http_base_path": f"/{self._secret()}", "ports_file_dir": str(self._data)}

    @property
    def secret(self) -> Path:
        """The file of the path, once the server was told it."""
        return self._path

    def forget(self) -> None:
        """The ports of servers that were killed: none runs."""
        for ports in self._data.glob("nats-server_*.ports"):
            ports.unlink()

    def failure(self, pid: int) -> str | None:
        """Why the server of this pid stores nothing any more, by its own word; None where it does, or does not say. One
        that had no room to write where it is asked may say nothing ever: it, too, has to be started again."""
        try:
            [url, *_] = json.loads((self._data / f"nats-server_{pid}.ports").read_text())["monitoring"]
        except (OSError, ValueError, LookupError):
            return "it had no room for its file of ports" if _runs_for_s(pid) > TOLD_WITHIN_S else None
        try:
            said = json.loads(self._ask(int(url.rpartition(":")[2]))).get("error", "")
        except (OSError, ValueError, AttributeError, state_file.Damaged):
            return None
        return said if _FAILED.search(said) else None

    def _ask(self, port: int) -> bytes:
        """The body of its answer: spoken by hand, an HTTP library would weigh 6 MB."""
        with socket.create_connection((HOST, port), timeout=PATIENCE_S) as connection:
            connection.sendall(f"GET /{self._secret()}/healthz HTTP/1.0\r\n\r\n".encode())
            return connection.makefile("rb").read().partition(b"\r\n\r\n")[2]

    def _secret(self) -> str:
        state_file.write_once(self._path, secrets.token_urlsafe(24).encode())
        return state_file.read_password(self._path, "delete it, and start again")


def _runs_for_s(pid: int) -> float:
    with suppress(psutil.Error):
        return float(time.time() - psutil.Process(pid).create_time())
    return 0.0
