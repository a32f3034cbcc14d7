"""PostgreSQL and NATS in containers, for tests that shall see them as partners run them: from their public images."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from contextlib import suppress

from docker.errors import APIError  # type: ignore[import-untyped]
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import ExecWaitStrategy

from rembuk.embedded.postgres_server import POSTGRES_SETTINGS
from rembuk.embedded.server import START_SECONDS, PortTaken

POSTGRES_IMAGE = "postgres:18"
NATS_IMAGE = "nats:2.14"
"""Batches are atomic from 2.12 on."""

_TAKEN = ("port is already allocated", "address already in use")
_OF_THE_IMAGE = ("listen_addresses", "unix_socket_directories")


class _Contained:
    """A server to start(), kill() or stop(), and start() again with its data and port, as an embedded one."""

    stop_signal: str

    def __init__(self, container: DockerContainer, inside: int, port: int) -> None:
        self._container = container.with_bind_ports(inside, port)
        self._inside = inside
        self._made = False

    @property
    def host(self) -> str:
        return self._container.get_container_host_ip()

    @property
    def port(self) -> int:
        return int(self._container.get_exposed_port(self._inside))

    def start(self) -> None:
        """Returns once the server accepts connections. Raises PortTaken."""
        try:
            if self._made:
                self._container.get_wrapped_container().start()
            else:
                self._made = True
                self._container.start()
            self._wait_until_ready()
        except BaseException as error:
            self.remove()
            if isinstance(error, APIError) and any(said in str(error) for said in _TAKEN):
                raise PortTaken(str(error)) from error
            raise

    def kill(self) -> None:
        """Ends the server as a power cut would; what it wrote stays."""
        self._end("SIGKILL")

    def stop(self) -> None:
        """Ends the server as it should be, and waits until it is gone; does nothing when none runs."""
        self._end(self.stop_signal)

    def remove(self) -> None:
        """Removes the container, running or not, with everything in it."""
        if self._made:
            self._container.stop()
            self._made = False

    def lose_disk(self) -> None:
        """The next start is that of a new container on the same port."""
        self.remove()

    def _end(self, signal: str) -> None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status == "running":
            container.kill(signal)
            container.wait()

    def _wait_until_ready(self) -> None:
        raise NotImplementedError


class ContainedPostgres(_Contained):
    """PostgreSQL from REMBUK_POSTGRES_IMAGE, set up as the embedded one, found by clients at `port` of this host."""

    stop_signal = "SIGINT"  # SIGTERM would wait for every client to leave

    def __init__(self, port: int) -> None:
        settings = {name: value for name, value in POSTGRES_SETTINGS.items() if name not in _OF_THE_IMAGE}
        image = os.environ.get("REMBUK_POSTGRES_IMAGE", POSTGRES_IMAGE)
        self._password = secrets.token_hex(12)
        container = PostgresContainer(image, username="postgres", password=self._password, dbname="postgres")
        command = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        super().__init__(container.with_command(command), 5432, port)

    @property
    def url(self) -> str:
        return f"postgresql://postgres:{self._password}@{self.host}:{self.port}/postgres"

    def _wait_until_ready(self) -> None:
        ready = ExecWaitStrategy(["pg_isready", "--quiet", "--host", "127.0.0.1"])
        ready.with_startup_timeout(int(START_SECONDS)).with_poll_interval(0.1).wait_until_ready(self._container)


class ContainedNats(_Contained):
    """nats-server with JetStream from REMBUK_NATS_IMAGE, set up as the embedded one."""

    stop_signal = "SIGTERM"

    def __init__(self, port: int) -> None:
        settings = {
            "port": 4222,
            "server_name": "rembuk",
            "max_payload": 1 << 20,
            "jetstream": {"store_dir": "/data", "sync_interval": "always"},
        }
        container = DockerContainer(os.environ.get("REMBUK_NATS_IMAGE", NATS_IMAGE))
        container.with_copy_into_container(json.dumps(settings).encode(), "/rembuk.conf")
        super().__init__(container.with_command(["-c", "/rembuk.conf"]), 4222, port)

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._greets():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nats-server did not greet; {self._container.get_logs()!r}")
            time.sleep(0.05)

    def _greets(self) -> bool:
        """The engine may accept a connection before the server does; only its greeting counts."""
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1) as connection:
            return connection.makefile("rb").readline().startswith(b"INFO ")
        return False
