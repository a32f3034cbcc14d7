"""The processes that a supervisor keeps running: servers, and those of services."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import EmbeddedPostgres
from rembuk.embedded.region import RegionConfig
from rembuk.process.forking import Adopted, CannotFork, Forking

from rembuk_cli.home.directory import Home
from rembuk_cli.home.disk import lack
from rembuk_cli.home.plan import Plan
from rembuk_cli.running.saying import say

BACK_OFF_S = (0.5, 1, 2, 4, 8, 16, 30)
STEADY_S = 60.0
"""Whoever ran so long before it died is started again as if it were the first time."""
LOOK_S = 5.0
"""How often NATS is asked whether it still stores."""


class Child:
    """One process that is to run, whether it does or not. Subclasses know how to start it."""

    name: str

    def __init__(self) -> None:
        self.restarts = 0
        self.due: float | None = None  # when to start it again
        self._failures = 0
        self._started = 0.0

    def start(self) -> None:
        self._started = time.monotonic()
        self.due = None
        self._start()

    def died(self) -> bool:
        """Whether it has ended since it was started."""
        return self.due is None and self.pid is None

    def back_off(self) -> float:
        """Decide when to start it again; the seconds until then."""
        if time.monotonic() - self._started > STEADY_S:
            self._failures = 0
        wait = BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]
        self._failures += 1
        self.restarts += 1
        self.due = time.monotonic() + wait
        return wait

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        raise NotImplementedError

    def _start(self) -> None:
        raise NotImplementedError


class ServerChild(Child):
    """PostgreSQL or NATS, embedded; its start is given up once it is not `wanted` any more."""

    def __init__(self, name: str, server: EmbeddedPostgres | EmbeddedNats, wanted: Callable[[], bool]) -> None:
        super().__init__()
        self.name, self._server, self._wanted = name, server, wanted

    @property
    def pid(self) -> int | None:
        return self._server.pid

    def _start(self) -> None:
        self._server.start(wanted=self._wanted)

    def stop(self) -> None:
        self._server.stop()

    def back_off(self) -> float:
        """On a full disk not for long: whatever fails there starts as soon as there is room."""
        wait = super().back_off()
        if wait > LOOK_S and lack(self._server.data) is not None:
            wait, self.due = LOOK_S, time.monotonic() + LOOK_S
        return wait

    def failure(self) -> str | None:
        """Why it runs and is of no use until it is started again; not while its disk is full: it would not start, and
        until then it can still be read."""
        if not isinstance(self._server, EmbeddedNats) or (why := self._server.failure()) is None:
            return None
        return why if lack(self._server.data) is None else None


class ServiceChild(Child):
    """One process of a service; `told` is what the region was when it was started."""

    def __init__(self, home: Home, plan: Plan, service: str, process: str, forking: Forking | None) -> None:
        super().__init__()
        self.name = f"{service}-{process}"
        self._home, self._plan, self._service, self._process = home, plan, service, process
        self._forking = forking
        self.popen: subprocess.Popen[bytes] | Adopted | None = None
        self.told: RegionConfig | None = None

    @property
    def pid(self) -> int | None:
        return self.popen.pid if self.popen is not None and self.popen.poll() is None else None

    def _start(self) -> None:
        log = self._home.open_log(self.name)
        try:
            self.told = self._home.region(self._plan)
            self.popen = self._forked(self.told, log) or self.told.spawn(
                self._service, self._process, log, signal.SIGTERM
            )
        finally:
            os.close(log)

    def _forked(self, told: RegionConfig, log: int) -> Adopted | None:
        """None where it has to be started by itself, and then says what is wrong."""
        if self._forking is None or self._forking.closed:
            return None
        try:
            return self._forking.fork(self._service, self._process, told.environment(self._service), log)
        except CannotFork as error:
            say("process cannot be forked", "warning", name=self.name, error=str(error))
            return None
