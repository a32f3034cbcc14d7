"""A list in a file, for whom we know and whom no longer: read again whenever it was replaced, replaced as a whole."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from rembuk.process import state_file
from rembuk.process.state_file import Damaged
from rembuk.settings import CannotRun

T = TypeVar("T", bound=msgspec.Struct)


class NotAbsolute(CannotRun):
    """The setting names no file that is the same one from everywhere."""


class BadRoster(Damaged):
    """The file cannot be read, is not such a list, or is gone."""


def absolute(name: str, setting: str) -> Path:
    """The path that the setting of this name is to be. Raises NotAbsolute."""
    if not Path(setting).is_absolute():
        raise NotAbsolute(f"{name} is to be the absolute path of a file, and is {setting}")
    return Path(setting)


class Roster(Generic[T]):
    """The entries of one type in a file of JSON; none where there is no file yet."""

    def __init__(self, path: Path, entry: type[T]) -> None:
        self.path = path
        self._decode = msgspec.json.Decoder(list[entry]).decode  # type: ignore[valid-type]
        self._seen: tuple[int, int, int] | None = None
        self._entries: list[T] = []

    @classmethod
    def told(cls, name: str, setting: str, entry: type[T]) -> Roster[T]:
        """The one at the absolute path that the setting of this name is. Raises NotAbsolute, BadRoster."""
        roster = cls(absolute(name, setting), entry)
        roster.read()
        return roster

    def read(self) -> list[T]:
        """All entries. Raises BadRoster."""
        try:
            status = self.path.stat()
            now = (status.st_mtime_ns, status.st_size, status.st_ino)
            if now != self._seen:
                self._entries, self._seen = self._decode(state_file.read(self.path)), now
        except FileNotFoundError:
            if self._lock.exists() and self._lock.stat().st_size:
                raise BadRoster(self.path, "missing, and there was a list") from None
            self._entries, self._seen = [], None
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise BadRoster(self.path, error) from error
        return self._entries

    @contextmanager
    def changing(self) -> Iterator[list[T]]:
        """The list to be changed, by one process at a time; kept where nothing is raised. Raises BadRoster, OSError."""
        with os.fdopen(os.open(self._lock, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = list(self.read())
            yield entries
            state_file.write_json(self.path, entries)
            if not lock.tell():
                lock.write("there is a list\n")

    @property
    def _lock(self) -> Path:
        """Held while the list changes; not empty from the first change on."""
        return self.path.with_name(f".{self.path.name}.lock")
