"""Processes of services, forked off one that has read their code: all of them start for what one costs (Linux).

`python -m rembuk.process.forking <service>...` reads the code and forks whatever it is asked for over its standard
input. What it forks is the asker's own child afterwards, by the name it would have had; the forking process itself ends
with the start-up, and whoever is started later is started as anywhere.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from rembuk.process.lifeline import end_with_us

READ_FIRST = (
    *("uvloop", "uvicorn", "rembuk.main", "rembuk.web.protocol", "rembuk.web.room"),
    *("litestar.plugins.attrs", "litestar.plugins.pydantic", "httpcore"),  # else read as an app or a client is made
)
_ASKED_BYTES = 1 << 20
_PATIENCE_S = 30.0
_POLL_S = 0.02
_PR_SET_CHILD_SUBREAPER = 36


class CannotFork(Exception):
    """The forking process ended; what it said is where our stderr goes."""


class Forking:
    """A process that forks the services' processes for us; to be closed once they are all there."""

    def __init__(self, services: Sequence[str], environment: Mapping[str, str]) -> None:
        """`environment` is what the system tells of whatever is forked; each is told its own besides."""
        _adopt(True)
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rembuk.process.forking", *services],
                env=dict(environment), stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                preexec_fn=end_with_us(signal.SIGKILL),
            )  # fmt: skip
        self._asking.settimeout(_PATIENCE_S)
        self._asking.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ASKED_BYTES)

    def fork(self, service: str, process: str, environment: Mapping[str, str], output: int) -> Adopted:
        """`python -m <service> <process>`, which gets SIGTERM when we end. Raises CannotFork."""
        asked = json.dumps([service, process, dict(environment)]).encode()
        try:
            socket.send_fds(self._asking, [asked], [output])
            answer = self._asking.recv(64)
        except OSError as error:
            self._process.kill()  # lest it answer later
            raise CannotFork(str(error)) from error
        if not answer:
            raise CannotFork("the process that forks has ended")
        return Adopted(int(answer))

    @property
    def closed(self) -> bool:
        return self._asking.fileno() < 0

    def close(self) -> None:
        self._asking.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _adopt(False)


class Adopted:
    """A child that we did not start ourselves."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_POLL_S)
        return code

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, how: signal.Signals) -> None:
        if self.poll() is None:  # else the number may be another's by now
            os.kill(self.pid, how)


def can_fork() -> bool:
    """Whether the system has a way to make another's child ours, and to have it end with us."""
    return sys.platform == "linux"


def _adopt(ours: bool) -> None:
    """Whether a process below us becomes our child where its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(ours))


def read_first(services: Sequence[str]) -> list[str]:
    """The modules that processes of these services share."""
    return [*READ_FIRST, *(f"{service}.{room}" for service in services for room in ("__main__", "app", "worker"))]


def become(program: str, arguments: Sequence[str], environment: Mapping[str, str], main: Callable[[], None]) -> None:
    """Do what `python -m <program> <arguments>` does, whose `main` it is, told this environment and nothing of ours."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    main()


def main(services: Sequence[str]) -> None:
    """Fork what is asked for until nobody asks any more."""
    asker, asking = os.getppid(), socket.socket(fileno=os.dup(0))
    gc.disable()  # it would write to what is shared
    for name in read_first(services):
        import_module(name)
    gc.freeze()
    while True:
        told, outputs, *_ = socket.recv_fds(asking, _ASKED_BYTES, 1)
        if not told:
            os._exit(0)
        if (between := os.fork()) == 0:
            between = os.getpid()
            if os.fork():
                os._exit(0)
            _end_with(asker, between)
            asking.send(str(os.getpid()).encode())
            asking.close()
            _run(outputs[0], *json.loads(told))
        os.close(outputs[0])
        os.waitpid(between, 0)


def _end_with(asker: int, between: int) -> None:
    """Become the asker's child, as one does when the process between ends, and get SIGTERM when the asker ends."""
    while os.getppid() == between:
        time.sleep(0.001)
    if (end := end_with_us(signal.SIGTERM)) is not None:
        end()
    if os.getppid() != asker:
        os._exit(1)  # it has ended already


def _run(output: int, service: str, process: str, environment: dict[str, str]) -> NoReturn:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, output, output)):
        os.dup2(file, number)
    for file in (nothing, output):
        os.close(file)
    be_named(sys.executable, "-m", service, process)
    become(service, [process], environment, import_module(f"{service}.__main__").main)
    sys.exit(0)


def be_named(*arguments: str) -> None:
    """Show the command line that a process of its own would have: written over ours, which is longer."""
    first, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    line = b"".join(os.fsencode(argument) + b"\0" for argument in arguments)
    if first and len(line) <= end - first:
        ctypes.memset(first, 0, end - first)
        ctypes.memmove(first, line, len(line))


if __name__ == "__main__":
    main(sys.argv[1:])
