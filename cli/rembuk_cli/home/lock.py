"""Who holds a directory: one supervisor at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]
from rembuk.process import state_file
from rembuk.process.state_file import Damaged

from rembuk_cli.home.noted_process import Process


class Occupied(Exception):
    """Another supervisor holds the directory."""


class Lock:
    """The lock file of a data directory; it names the process that holds it."""

    def __init__(self, data: Path) -> None:
        self._data, self._file = data, data / "lock"

    def hold(self) -> int:
        """Hold the directory until this process ends, or the descriptor is closed; the lock says who we are. Raises
        Occupied."""
        fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise Occupied(f"another process runs a region in {self._data}") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.encode(Process.of(os.getpid())), 0)
        return fd

    def holder(self) -> psutil.Process | None:
        """Who holds the directory now, as the lock says: it knows whatever became of region.json. Raises Damaged where
        we may not read it: that is not nobody."""
        try:
            return msgspec.json.decode(state_file.read(self._file), type=Process).find()
        except PermissionError as error:
            raise Damaged(self._file, error) from error
        except (OSError, msgspec.MsgspecError):
            return None
