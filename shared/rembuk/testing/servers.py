"""Fixtures with the real PostgreSQL and NATS, for `pytest_plugins = ["rembuk.testing.servers"]`."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from rembuk.embedded import EmbeddedNats, EmbeddedPostgres, PortTaken, free_port

Server = TypeVar("Server", EmbeddedPostgres, EmbeddedNats)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """postgresql:// URL of a superuser: REMBUK_POSTGRES_URL, else a server of this test process."""
    if given := os.environ.get("REMBUK_POSTGRES_URL"):
        yield given
    else:
        with _running(EmbeddedPostgres) as server:
            yield server.url


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """nats:// URL with JetStream: REMBUK_NATS_URL, else a server of this test process."""
    if given := os.environ.get("REMBUK_NATS_URL"):
        yield given
    else:
        with _running(EmbeddedNats) as server:
            yield server.url


@pytest.fixture
def own_postgres() -> Iterator[Callable[[], EmbeddedPostgres]]:
    """Each call starts a server of this test alone, to kill() and start() again with its data and port."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_running(EmbeddedPostgres))


@pytest.fixture
def own_nats() -> Iterator[Callable[[], EmbeddedNats]]:
    """Each call starts a server of this test alone, to kill() and start() again with its data and port."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_running(EmbeddedNats))


@contextmanager
def _running(kind: type[Server]) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="rembuk-") as parent:
        server = _started(kind, Path(parent) / kind.program)
        try:
            yield server
        finally:
            server.kill()  # an orderly end would first write what is thrown away now: a minute, for 100 databases
            server.stop()


def _started(kind: type[Server], data: Path) -> Server:
    for _ in range(10):  # another test process may take the free port before the server does
        server = kind(data, free_port())
        try:
            server.start()
        except PortTaken:
            continue
        return server
    raise PortTaken("ten free ports in a row were taken before the server could have them")
