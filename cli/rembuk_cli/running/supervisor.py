"""The process that keeps an embedded region running: `python -m rembuk_cli.running.supervisor`, told by REMBUK_PLAN.

Starts the servers, prepares the databases, starts an API and a worker for each service, starts again what
dies, and on SIGTERM stops it all: services first, so that they finish what they accepted. It says how far it
is in JSON lines on stdout until everything is ready, and keeps a log in logs/supervisor.log. It sleeps until
a child ends or a signal comes, but for a look at NATS, which may run and store nothing. When it is killed, its
children get a signal from the system (Linux).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import EmbeddedPostgres
from rembuk.embedded.region import PROCESSES
from rembuk.embedded.server import EmbeddedError, require_free_port
from rembuk.process.forking import Forking, can_fork
from rembuk.process.lines import Lines
from rembuk.process.open_files import open_files
from rembuk.settings import CannotRun

from rembuk_cli.home.lock import Occupied
from rembuk_cli.home.noted_process import Process
from rembuk_cli.home.plan import Plan
from rembuk_cli.home.planned import planned_home
from rembuk_cli.home.running import Running
from rembuk_cli.region.ready import answers_ready
from rembuk_cli.running.children import LOOK_S, Child, ServerChild, ServiceChild
from rembuk_cli.running.leftovers import end_leftovers
from rembuk_cli.running.saying import say, tell

READY_S = 60.0
READY_POLL_S = 0.05
GRACE_S = 20.0
"""How long services may finish what they accepted; an API takes 15 s at most by itself."""
TOLD_LINES = 8
NOTE_AGAIN_S = 1.0


class StoppedWhileStarting(Exception):
    """SIGTERM came while starting."""


class Supervisor:
    """Runs one region from start to stop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._home = planned_home(plan)
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
            lock = self._home.lock.hold()
            self._home.own(self._plan.region)
            os.dup2(self._home.open_log("supervisor"), 2)
            self._start()
        except StoppedWhileStarting:
            pass
        except (CannotRun, EmbeddedError, Occupied, OSError) as error:
            tell({"error": str(error)})
            if lock is not None:  # else our directory and its log are not ours
                say("cannot run", "critical", error=str(error))
                self._stop()
            return 2
        if not self._stopping:
            self._keep_running()
        self._stop()
        return 0

    def _start(self) -> None:
        plan, home = self._plan, self._home
        if end_leftovers(home):
            say("ended what a killed supervisor had left", "warning")
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
        say("region is ready", region=plan.region)
        tell({"ready": True})
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
                    raise StoppedWhileStarting from None
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
                    raise StoppedWhileStarting
            if child.returncode:
                why = self._tail("prepare")
                say("databases are not prepared", "error", to=Lines(log))  # gives its time to the lines above it
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
                raise StoppedWhileStarting

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
                    say("process died", "warning", name=child.name, again_in_s=child.back_off())
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
                say("server stores nothing and is ended", "error", name=server.name, why=why)
                try:
                    server.stop()
                except EmbeddedError as error:
                    say("server did not stop", "error", error=str(error))

    def _note_if_possible(self) -> None:
        """On a full disk, as soon as there is room."""
        try:
            self._note()
            self._unnoted = False
        except OSError as error:
            if not self._unnoted:
                say("region.json cannot be written", "error", error=str(error))
            self._unnoted = True

    def _start_again(self, child: Child) -> None:
        try:
            child.start()
            say("process started again", name=child.name, restarts=child.restarts)
            if isinstance(child, ServerChild):
                self._tell_services()
        except (CannotRun, EmbeddedError, OSError) as error:
            say("process cannot be started", "error", name=child.name, error=str(error), again_in_s=child.back_off())

    def _tell_services(self) -> None:
        """End what was told otherwise of the servers than they are told now (the password of NATS, say): it is started
        again."""
        told = self._home.region(self._plan)
        for child in self._services:
            if child.popen is not None and child.pid is not None and child.told != told:
                say("process is told anew", name=child.name)
                child.popen.terminate()

    def _stop(self) -> None:
        self._stopping = True
        say("region stops")
        running = [child.popen for child in self._services if child.popen is not None and child.pid is not None]
        for popen in running:
            popen.terminate()
        deadline = time.monotonic() + GRACE_S
        for popen in running:
            try:
                popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                say("process did not stop in time", "warning", pid=popen.pid)
                popen.kill()
                popen.wait()
        for server in self._servers:
            try:
                server.stop()
            except EmbeddedError as error:
                say("server did not stop", "error", error=str(error))
        self._home.forget()
        say("region stopped")

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
            raise StoppedWhileStarting
        tell({"step": what})

    def _note(self) -> None:
        children: list[Child] = [*self._servers, *self._services]
        processes = {child.name: Process.of(child.pid, child.restarts) for child in children}
        self._home.note(Running.of(self._plan, self._ready, processes))

    def _tail(self, name: str) -> str:
        log, lines = self._home.logged(name)
        return "\n".join([f"see {log}:", *lines[-TOLD_LINES:]])


if __name__ == "__main__":
    open_files()  # its children may have as many
    sys.exit(Supervisor(Plan.told()).run())
