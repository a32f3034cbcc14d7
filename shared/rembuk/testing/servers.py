"""Fixtures with the real PostgreSQL and NATS, for `pytest_plugins = ["rembuk.testing.servers"]`."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import EmbeddedPostgres
from rembuk.embedded.server import PortTaken
from rembuk.testing.ports import free_ports


class Server(Protocol):
    """What a test does to a server of its own, be it embedded or in a container."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def stop(self) -> None: ...

    def remove(self) -> None:
        """End it and leave nothing behind."""


class Broker(Server, Protocol):
    """A nats-server, which may also lose what it wrote."""

    def lose_disk(self) -> None:
        """While it does not run: the next start finds nothing."""


class DisposablePostgres(EmbeddedPostgres):
    """One in a temporary directory."""

    def remove(self) -> None:
        self.kill()  # an orderly end would first write what is thrown away now: a minute for 100 databases
        os.close(self._lock())  # which its children hold as long as they live, and write


class DisposableNats(EmbeddedNats):
    """One in a temporary directory."""

    def remove(self) -> None:
        self.kill()

    def lose_disk(self) -> None:
        shutil.rmtree(self.data / "jetstream")


S = TypeVar("S", bound=Server)


def in_containers() -> bool:
    """Whether tests get their servers in containers: REMBUK_TEST_CONTAINERS says so."""
    return bool(os.environ.get("REMBUK_TEST_CONTAINERS"))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """postgresql:// URL of a superuser: REMBUK_POSTGRES_URL, else a server of this test process."""
    if given := os.environ.get("REMBUK_POSTGRES_URL"):
        yield given
    else:
        with _running(_postgres) as server:
            yield server.url


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """nats:// URL with JetStream: REMBUK_NATS_URL, else a server of this test process."""
    if given := os.environ.get("REMBUK_NATS_URL"):
        yield given
    else:
        with _running(_nats) as server:
            yield server.url


@pytest.fixture
def own_postgres() -> Iterator[Callable[[], Server]]:
    """Each call starts a server of this test alone, to kill() and start() again with its data and port."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_running(_postgres))


@pytest.fixture
def own_nats() -> Iterator[Callable[[], Broker]]:
    """Each call starts a server of this test alone, to kill() and start() again with its data and port."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_running(_nats))


def _postgres(data: Path, port: int) -> Server:
    if in_containers():
        from rembuk.testing.containers import ContainedPostgres  # whoever has no engine needs no client of one

        return ContainedPostgres(port)
    return DisposablePostgres(data, port)


def _nats(data: Path, port: int) -> Broker:
    if in_containers():
        from rembuk.testing.containers import ContainedNats

        return ContainedNats(port)
    return DisposableNats(data, port)


@contextmanager
def _running(make: Callable[[Path, int], S]) -> Iterator[S]:
    with tempfile.TemporaryDirectory(prefix="rembuk-") as parent:
        server = _started(make, Path(parent) / "server")
        try:
            yield server
        finally:
            server.remove()


def _started(make: Callable[[Path, int], S], data: Path) -> S:
    for _ in range(10):  # another test process may take the free port before the server does
        server = make(data, free_ports())
        try:
            server.start()
        except PortTaken:
            continue
        return server
    raise PortTaken("ten free ports in a row were taken before the server could have them")
