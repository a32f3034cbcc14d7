"""A list in a file, for whom we know and whom no longer: read again whenever it was replaced, replaced as a whole."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from rembuk.settings import CannotRun

T = TypeVar("T", bound=msgspec.Struct)


class BadRoster(CannotRun):
    """The file cannot be read, or is not such a list."""


def absolute(name: str, setting: str) -> Path:
    """The path that the setting of this name is to be. Raises BadRoster."""
    if not Path(setting).is_absolute():
        raise BadRoster(f"{name} is to be the absolute path of a file, and is {setting}")
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
        """The one at the absolute path that the setting of this name is. Raises BadRoster."""
        roster = cls(absolute(name, setting), entry)
        roster.read()
        return roster

    def read(self) -> list[T]:
        """All entries. Raises BadRoster."""
        try:
            status = self.path.stat()
            now = (status.st_mtime_ns, status.st_size, status.st_ino)
            if now != self._seen:
                self._entries, self._seen = self._decode(self.path.read_bytes()), now
        except FileNotFoundError:
            self._entries, self._seen = [], None
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise BadRoster(f"{self.path} cannot be read: {error}") from error
        return self._entries

    @contextmanager
    def changing(self) -> Iterator[list[T]]:
        """The list to be changed, by one process at a time; kept where nothing is raised. Raises BadRoster, OSError."""
        with self.path.with_name(f".{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = list(self.read())
            yield entries
            descriptor, beside = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 0600
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(entries)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
