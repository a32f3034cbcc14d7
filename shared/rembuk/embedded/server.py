"""What the embedded servers share: the real ones as child processes, each with one data directory and one port."""

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from rembuk.process.spawning import RunAs, spawn

HOST = "127.0.0.1"
START_SECONDS = 60.0
"""How long a server may say nothing while it starts: a recovery may take hours, and is begun anew if it is cut off."""
STOP_SECONDS = 60.0
POLL_SECONDS = 0.01
LOG_BYTES = 16 << 20


class EmbeddedError(RuntimeError):
    """A server could not be started or stopped; the first line says why, others are the end of its log."""


class AlreadyRunning(EmbeddedError):
    """The data directory is in use by a running server."""


class PortTaken(EmbeddedError):
    """Something else listens on the port."""


class EmbeddedServer(ABC):
    """What both servers share: one data directory, one port on 127.0.0.1, one process at a time.

    `data/lock` is locked while a server starts, and the server and its children inherit the lock, so nobody
    starts a second one on the same directory, not even while children of a killed one still end.
    """

    program: str
    stop_signal: signal.Signals

    def __init__(self, data: Path, port: int) -> None:
        self.data = data.resolve()
        self.port = port
        self.log = self.data / f"{self.program}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to; needs the data directory and the port only, so any process can ask."""

    @property
    @abstractmethod
    def _identifying_argument(self) -> Path: ...

    @property
    @abstractmethod
    def _pid_file(self) -> Path: ...

    @abstractmethod
    def _prepare(self, lock: int) -> tuple[list[str], dict[str, str], RunAs]: ...

    @abstractmethod
    def _ready(self, pid: int) -> bool: ...

    @property
    def pid(self) -> int | None:
        """Of the running server, whoever started it; None when it is not running."""
        pid = self._noted_pid()
        return pid if pid is not None and self._is_ours(pid) else None

    def start(self, detached: bool = False, wanted: Callable[[], bool] = lambda: True) -> None:
        """Returns once the server accepts connections, recovery included.

        Unless detached, the server stops when this process ends, even when it is killed (Linux only).
        Raises AlreadyRunning, PortTaken, EmbeddedError, also where it is not `wanted` any more.
        """
        self._claim_directory()
        lock = self._lock()
        try:
            require_free_port(self.port)
            self._rotate_log()
            command, environment, run_as = self._prepare(lock)
            start_of_run = self.log.stat().st_size
            child = self._spawn(command, run_as, environment, lock, None if detached else self.stop_signal)
        finally:
            os.close(lock)
        self._child = child
        try:
            self._wait_until_ready(child, start_of_run, wanted)
        except BaseException:
            child.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                child.wait(STOP_SECONDS)
            child.kill()
            raise

    def stop(self) -> None:
        """Ends the server, whoever started it, and waits until it is gone; does nothing when none runs."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Ends the server as a power cut would: SIGKILL to its main process; the data stays as it is."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        pid = self.pid
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, how)
        deadline = time.monotonic() + STOP_SECONDS
        while self._is_ours(pid):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.program} (pid {pid}) did not stop within {STOP_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        if self._child is not None and self._child.pid == pid:
            self._child.wait()  # it is a zombie by now

    def _noted_pid(self) -> int | None:
        try:
            return int(self._pid_file.read_text(errors="replace").split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def _is_ours(self, pid: int) -> bool:
        try:
            command = psutil.Process(pid).cmdline()  # empty for a zombie
        except (psutil.Error, ValueError):
            return False
        arguments = {str(self._identifying_argument)}.intersection(command)
        return bool(arguments) and Path(command[0]).name == self.program

    def _claim_directory(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self.data.stat().st_uid
        if os.geteuid() not in (0, owner):
            raise EmbeddedError(f"{self.data} belongs to uid {owner}; start it as that user, or as root")

    def _lock(self) -> int:
        fd = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait_for_lock(fd)
            self._own_by_directory_owner(self.data / "lock")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _wait_for_lock(self, fd: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if (pid := self.pid) is not None:
                raise AlreadyRunning(f"{self.program} already runs on {self.data} (pid {pid}); stop it first")
            with suppress(BlockingIOError):
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.data} is still held by processes of an earlier {self.program}")
            time.sleep(POLL_SECONDS)

    def _own_by_directory_owner(self, *paths: Path) -> None:
        """What root writes into a directory of another user stays that user's."""
        if os.geteuid() == 0:
            owner = self.data.stat()
            for path in paths:
                os.chown(path, owner.st_uid, owner.st_gid)

    def _run_as(self, *probe: str) -> RunAs:
        """As root: the owner of `data`, with no more rights than the probe and the data take."""
        owner = self.data.stat()
        if os.geteuid() != 0 or owner.st_uid == 0:
            return RunAs()
        reaches = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.data), *probe]
        for capability in (None, "dac_read_search", "dac_override"):
            if capability is not None and shutil.which("setpriv") is None:
                continue
            run_as = RunAs(owner.st_uid, owner.st_gid, capability)
            with suppress(PermissionError):
                if spawn(reaches, run_as, out=subprocess.DEVNULL).wait() == 0:
                    return run_as
        raise EmbeddedError(
            f"uid {owner.st_uid}, who is to run {self.program}, cannot reach {probe[0]} and {self.data}: "
            "install setpriv (util-linux), open these directories to it, or start as an ordinary user"
        )

    def _spawn(
        self,
        command: list[str],
        run_as: RunAs,
        environment: dict[str, str],
        lock: int,
        signal_at_our_end: signal.Signals | None,
    ) -> subprocess.Popen[bytes]:
        """A child that writes to the log and holds the lock."""
        with self.log.open("ab") as log:
            return spawn(
                command, run_as, env=environment, out=log.fileno(), keep=lock, signal_at_our_end=signal_at_our_end
            )

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        self._own_by_directory_owner(self.log)

    def _wait_until_ready(self, child: subprocess.Popen[bytes], start_of_run: int, wanted: Callable[[], bool]) -> None:
        said, deadline = start_of_run, time.monotonic() + START_SECONDS
        while not self._ready(child.pid):
            if child.poll() is not None:
                require_free_port(self.port)
                raise EmbeddedError(f"{self.program} ended while starting; {self._tail(start_of_run)}")
            if not wanted():
                raise EmbeddedError(f"{self.program} was stopped while starting")
            if (size := self.log.stat().st_size) != said:
                said, deadline = size, time.monotonic() + START_SECONDS
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.program} is not ready in time; {self._tail(start_of_run)}")
            time.sleep(POLL_SECONDS)

    def _tail(self, start_of_run: int) -> str:
        lines = self.log.read_bytes()[start_of_run:].decode(errors="replace").splitlines()
        return "\n".join([f"see {self.log}:", *lines[-20:]])


def require_free_port(port: int) -> None:
    """Raises PortTaken, which names whoever listens on it."""
    if not is_free(port):
        raise PortTaken(f"port {port} is taken{_listener(port)}; free it or choose another with --port-base")


def is_free(port: int) -> bool:
    """Whether a server could listen on it now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def _listener(port: int) -> str:
    """` (by pid 123 postgres)`, or nothing where the system does not tell."""
    with suppress(psutil.Error):
        for c in psutil.net_connections("tcp"):
            if c.pid and c.status == psutil.CONN_LISTEN and c.laddr.port == port:
                return f" (by pid {c.pid} {psutil.Process(c.pid).name()})"
    return ""
