"""The process that keeps an embedded region running: `python -m rembuk_cli.running.supervisor`, told by REMBUK_PLAN.

Starts the servers, prepares the databases, starts an API and a worker for each service, starts again what
dies, and on SIGTERM stops it all: services first, so that they finish what they accepted. It says how far it
is in JSON lines on stdout until everything is ready, and keeps a log in logs/supervisor.log. It sleeps until
a child ends or a signal comes, but for a look at NATS, which may run and store nothing. When it is killed, its
children get a signal from the system (Linux).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import EmbeddedPostgres
from rembuk.embedded.region import PROCESSES, Region
from rembuk.embedded.server import HOST, EmbeddedError, require_free_port
from rembuk.process.forking import Adopted, CannotFork, Forking, can_fork
from rembuk.process.lines import Lines
from rembuk.process.open_files import open_files
from rembuk.settings import CannotRun

from rembuk_cli.home.directory import Home, Occupied, Plan, Running, home_of, without_credentials
from rembuk_cli.home.disk import lack
from rembuk_cli.home.noted_process import Process
from rembuk_cli.region.ready import answers_ready
from rembuk_cli.running.leftovers import end_leftovers

READY_S = 60.0
READY_POLL_S = 0.05
GRACE_S = 20.0
"""How long services may finish what they accepted; an API takes 15 s at most by itself."""
BACK_OFF_S = (0.5, 1, 2, 4, 8, 16, 30)
STEADY_S = 60.0
"""Whoever ran so long before it died is started again as if it were the first time."""
TOLD_LINES = 8
LOOK_S = 5.0
"""How often NATS is asked whether it still stores."""
NOTE_AGAIN_S = 1.0

_log = Lines(2)


class Stopped(Exception):
    """SIGTERM came while starting."""


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
        self.told: Region | None = None

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

    def _forked(self, told: Region, log: int) -> Adopted | None:
        """None where it has to be started by itself, and then says what is wrong."""
        if self._forking is None or self._forking.closed:
            return None
        try:
            return self._forking.fork(self._service, self._process, told.environment(self._service), log)
        except CannotFork as error:
            _say("process cannot be forked", "warning", name=self.name, error=str(error))
            return None


class Supervisor:
    """Runs one region from start to stop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._home = home_of(plan)
        self._servers: list[ServerChild] = []
        self._services: list[ServiceChild] = []
        self._stopping = False
        self._ready = False
        self._unnoted = False
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_soon)

    def run(self) -> int:
        """The exit status: 0 after a stop that was asked for, 2 when the region cannot run."""
        lock = None
        try:
            self._home.prepare()
            lock = self._home.lock()
            self._home.own(self._plan.region)
            os.dup2(self._home.open_log("supervisor"), 2)
            self._start()
        except Stopped:
            pass
        except (CannotRun, EmbeddedError, Occupied, OSError) as error:
            _tell({"error": str(error)})
            if lock is not None:  # else our directory and its log are not ours
                _say("cannot run", "critical", error=str(error))
                self._stop()
            return 2
        if not self._stopping:
            self._keep_running()
        self._stop()
        return 0

    def _start(self) -> None:
        plan, home = self._plan, self._home
        if end_leftovers(home):
            _say("ended what a killed supervisor had left", "warning")
        own = [name for name in ("nats", "postgres") if not getattr(plan, f"{name}_url")]
        for name in (*own, *self._services_to_run):
            require_free_port(plan.ports[name])
        self._note()
        with self._forking() as forking:
            self._start_servers(own)
            self._step("databases and migrations")
            self._prepare()
            self._step("services")
            for service in self._services_to_run:
                for process in PROCESSES:
                    self._services.append(one := ServiceChild(home, plan, service, process, forking))
                    one.start()
        self._note()
        self._wait_until_ready()
        self._ready = True
        self._note()
        _say("region is ready", region=plan.region)
        _tell({"ready": True})
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    @contextmanager
    def _forking(self) -> Iterator[Forking | None]:
        """What reads the services' code while servers start and databases are prepared."""
        if not can_fork() or not self._services_to_run:
            yield None
            return
        ours = {name: value for name, value in os.environ.items() if not name.startswith("REMBUK_")}
        environment = ours | {"REMBUK_LOG_KEY": str(self._home.log_key)}  # by which leftovers are found
        with closing(Forking(self._services_to_run, environment)) as forking:
            yield forking

    def _start_servers(self, own: Sequence[str]) -> None:
        for name in own:
            self._step({"nats": "NATS", "postgres": "PostgreSQL"}[name])
            self._servers.append(child := ServerChild(name, self._server(name), lambda: not self._stopping))
            try:
                child.start()
            except EmbeddedError:
                if self._stopping:
                    raise Stopped from None
                raise
            self._note()

    def _server(self, name: str) -> EmbeddedPostgres | EmbeddedNats:
        port = self._plan.ports[name]
        if name == "postgres":
            return self._home.postgres(port, anew=self._plan.servers_only or self._plan.hub)
        return self._home.nats(self._plan.region, port)

    @property
    def _services_to_run(self) -> tuple[str, ...]:
        return () if self._plan.servers_only else self._plan.services

    def _prepare(self) -> None:
        log = self._home.open_log("prepare")
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "rembuk_cli.running.prepare"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            while child.poll() is None:
                self._sleep(None)
                if self._stopping:
                    child.wait()
                    raise Stopped
            if child.returncode:
                why = self._tail("prepare")
                _say("databases are not prepared", "error", to=Lines(log))  # gives its time to the lines above it
                raise CannotRun(f"the databases cannot be prepared; {why}")
        finally:
            os.close(log)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        waiting = list(self._services_to_run)
        while waiting:
            for child in self._services:
                if child.died():
                    raise CannotRun(f"{child.name} ended while starting; {self._tail(child.name)}")
            waiting = [service for service in waiting if not answers_ready(self._plan.ports[service])]
            if waiting and time.monotonic() > deadline:
                name = f"{waiting[0]}-api"
                raise CannotRun(f"{waiting[0]} is not ready within {READY_S:.0f} s; {self._tail(name)}")
            if waiting:
                self._sleep(READY_POLL_S)
            if self._stopping:
                raise Stopped

    def _keep_running(self) -> None:
        look = time.monotonic() + LOOK_S
        while not self._stopping:
            children: list[Child] = [*self._servers, *self._services]
            changed = self._unnoted
            if look <= time.monotonic():
                look = time.monotonic() + LOOK_S
                self._end_what_failed()
            for child in children:
                if child.died():
                    _say("process died", "warning", name=child.name, again_in_s=child.back_off())
                    changed = True
            for child in children:
                if child.due is not None and child.due <= time.monotonic() and not self._stopping:
                    self._start_again(child)
                    changed = True
            if changed:
                self._note_if_possible()
            due = [look, *(child.due for child in children if child.due is not None)]
            if self._unnoted:
                due.append(time.monotonic() + NOTE_AGAIN_S)
            self._sleep(max(0.0, min(due) - time.monotonic()))

    def _end_what_failed(self) -> None:
        """Such a server is then started again like one that died."""
        for server in self._servers:
            if not server.died() and (why := server.failure()) is not None:
                _say("server stores nothing and is ended", "error", name=server.name, why=why)
                try:
                    server.stop()
                except EmbeddedError as error:
                    _say("server did not stop", "error", error=str(error))

    def _note_if_possible(self) -> None:
        """On a full disk, as soon as there is room."""
        try:
            self._note()
            self._unnoted = False
        except OSError as error:
            if not self._unnoted:
                _say("region.json cannot be written", "error", error=str(error))
            self._unnoted = True

    def _start_again(self, child: Child) -> None:
        try:
            child.start()
            _say("process started again", name=child.name, restarts=child.restarts)
            if isinstance(child, ServerChild):
                self._tell_services()
        except (CannotRun, EmbeddedError, OSError) as error:
            _say("process cannot be started", "error", name=child.name, error=str(error), again_in_s=child.back_off())

    def _tell_services(self) -> None:
        """End what was told otherwise of the servers than they are told now (the password of NATS, say): it is started
        again."""
        told = self._home.region(self._plan)
        for child in self._services:
            if child.popen is not None and child.pid is not None and child.told != told:
                _say("process is told anew", name=child.name)
                child.popen.terminate()

    def _stop(self) -> None:
        self._stopping = True
        _say("region stops")
        running = [child.popen for child in self._services if child.popen is not None and child.pid is not None]
        for popen in running:
            popen.terminate()
        deadline = time.monotonic() + GRACE_S
        for popen in running:
            try:
                popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _say("process did not stop in time", "warning", pid=popen.pid)
                popen.kill()
                popen.wait()
        for server in self._servers:
            try:
                server.stop()
            except EmbeddedError as error:
                _say("server did not stop", "error", error=str(error))
        self._home.forget()
        _say("region stopped")

    def _stop_soon(self, *_: Any) -> None:
        self._stopping = True

    def _sleep(self, seconds: float | None) -> None:
        """Until a signal comes (a child ended, stop), at most `seconds`."""
        if self._stopping:
            return
        select.select([self._wake], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)

    def _step(self, what: str) -> None:
        if self._stopping:
            raise Stopped
        _tell({"step": what})

    def _note(self) -> None:
        plan, home = self._plan, self._home
        children: list[Child] = [*self._servers, *self._services]
        nats_url = plan.nats_url or f"nats://{HOST}:{plan.ports['nats']}"
        postgres_url = plan.postgres_url or f"postgresql://{HOST}:{plan.ports['postgres']}/postgres"
        home.note(
            Running(
                region=plan.region,
                supervisor=Process.of(os.getpid()),
                ready=self._ready,
                urls={service: f"http://{HOST}:{plan.ports[service]}" for service in plan.services},
                postgres_url=without_credentials(postgres_url),
                nats_url=without_credentials(nats_url),
                ports=plan.ports,
                smtp_url=without_credentials(plan.extra.get("REMBUK_SMTP_URL", "")),
                public_url=without_credentials(plan.extra.get("REMBUK_NOTIFICATIONS_PUBLIC_URL", "")),
                servers_only=plan.servers_only,
                processes={child.name: Process.of(child.pid, child.restarts) for child in children},
            )
        )

    def _tail(self, name: str) -> str:
        log, lines = self._home.logged(name)
        return "\n".join([f"see {log}:", *lines[-TOLD_LINES:]])


def _tell(progress: dict[str, Any]) -> None:
    """To whoever started us; it may be gone."""
    with suppress(OSError):
        os.write(1, json.dumps(progress).encode() + b"\n")


def _say(event: str, level: str = "info", to: Lines = _log, **fields: Any) -> None:
    """One line of a log, in the shape of the services' own."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = {"event": event, **fields, "process": "supervisor", "level": level, "timestamp": now}
    to.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    open_files()  # its children may have as many
    sys.exit(Supervisor(Plan.told()).run())
