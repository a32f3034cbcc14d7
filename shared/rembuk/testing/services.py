"""Services as real processes for tests: a region of its own on the shared PostgreSQL and NATS servers."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Any, TypeVar

import asyncpg
import pytest

from rembuk.embedded.region import PROCESSES, RegionConfig
from rembuk.partners.partners import Partner, Partners, Scope, Webhook, hashed, new_token
from rembuk.postgres.provisioning import SERVICES
from rembuk.settings import PARTNERS
from rembuk.testing import forking
from rembuk.testing.asking import asked
from rembuk.testing.forking import Forked
from rembuk.testing.patience import NOT_YET
from rembuk.testing.ports import free_ports

T = TypeVar("T")
TEST_KEY = "dGVzdCB0ZXN0IHRlc3QgdGVzdCB0ZXN0IHRlc3QgdGU="
TOKEN = "rembuk_of-the-partner-who-sees-everything"
PARTNER = {"Authorization": f"Bearer {TOKEN}"}


def eventually(check: Callable[[], T], within: float = 40.0) -> T:
    """Call `check` until it returns without `NOT_YET` or a connection error, at most `within` seconds. Between two
    calls the processors are left to what it waits for, for as long as a call takes them."""
    deadline = time.monotonic() + within
    while True:
        begun = time.monotonic()
        try:
            return check()
        except (*NOT_YET, OSError):
            if (now := time.monotonic()) > deadline:
                raise
            time.sleep(min(max(0.02, now - begun), 0.5))


class RunningRegion:
    """A region whose processes a test starts, kills and starts again. All of it ends with the test. One partner may see
    everything: its requests have the headers `PARTNER`."""

    def __init__(self, postgres_url: str, nats_url: str, services: tuple[str, ...], extra: dict[str, str]) -> None:
        self.services = services
        folder = mkdtemp(prefix="rembuk-partners-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.region = RegionConfig(
            name="t" + secrets.token_hex(5),
            postgres_url=postgres_url,
            nats_url=nats_url,
            password="test",
            region_key=TEST_KEY,
            log_key=TEST_KEY,
            ports={service: free_ports() for service in {*SERVICES, *services}},
            extra={PARTNERS: f"{folder}/partners.json", **extra},
        )
        self.partners = Partners(Path(folder, "partners.json"))
        self.partner("everywhere", Scope(tuple(dict.fromkeys((*SERVICES, *services)))), TOKEN)
        self.processes: dict[tuple[str, str], Forked] = {}
        self.output: IO[Any] | None = None  # where the logs of all go

    def partner(self, name: str, scope: Scope, token: str = "", webhook: Webhook | None = None) -> dict[str, str]:
        """One more partner; the headers of its requests."""
        token = token or new_token()
        self.partners.add(Partner(name, scope, hashed(token), datetime.now(UTC), webhook=webhook))
        return {"Authorization": f"Bearer {token}"}

    def prepare(self) -> None:
        """Databases and roles, brought to their newest shape by this process: it has loaded what that takes."""
        asyncio.run(self.region.provision(self.services))
        self.region.migrate(self.services)

    def start(self, service: str, process: str) -> None:
        self.processes[service, process] = Forked(service, [process], self.region.environment(service), self.output)

    def run(self, service: str, process: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m <service> <process> <arguments>`, come to its end."""
        return forking.run(service, [process, *arguments], self.region.environment(service, process), 60)

    def start_all(self) -> None:
        """Every process of every service; returns when the APIs are ready."""
        for service in self.services:
            for process in PROCESSES:
                self.start(service, process)
        for service in self.services:
            self.ready(service)

    def ready(self, service: str) -> None:
        """Wait until the service's API answers that it is ready."""

        def answers() -> None:
            with (
                suppress(urllib.error.HTTPError),
                urllib.request.urlopen(f"{self.region.url(service)}/health/ready", timeout=2) as answer,
            ):
                assert answer.status == 200
                return
            raise AssertionError(f"{service} is not ready")

        eventually(answers, 60)

    def kill(self, service: str, process: str) -> None:
        """kill -9."""
        self._end(service, process, signal.SIGKILL)

    def stop(self, service: str, process: str) -> int:
        """SIGTERM; the exit status."""
        return self._end(service, process, signal.SIGTERM)

    def stop_all(self) -> None:
        for child in self.processes.values():
            with suppress(ProcessLookupError):
                child.terminate()
        for key in list(self.processes):
            self._end(*key, signal.SIGTERM)

    def url(self, service: str) -> str:
        return self.region.url(service)

    def ask(self, service: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """The answer of a service's database, asked as its owner."""
        return asked(self.region.database(service).owner_url, query, *arguments)

    def _end(self, service: str, process: str, how: signal.Signals) -> int:
        child = self.processes.pop((service, process))
        child.send_signal(how)
        try:
            return child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            raise


@pytest.fixture(scope="module")
def start_region(postgres_url: str, nats_url: str) -> Iterator[Callable[..., RunningRegion]]:
    """A function that starts a region with the named services (all by default) and waits until they are ready; it
    ends with the module, so that its processes and connections are there for the next one."""
    started: list[RunningRegion] = []

    def start(*services: str, extra: dict[str, str] | None = None) -> RunningRegion:
        running = RunningRegion(postgres_url, nats_url, services or SERVICES, extra or {})
        started.append(running)
        running.prepare()
        running.start_all()
        return running

    yield start
    for running in started:
        running.stop_all()
