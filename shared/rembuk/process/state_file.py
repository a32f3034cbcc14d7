"""Files in which a process keeps its state: written whole and durably, and checked whenever they are read."""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rembuk.settings import CannotRun

T = TypeVar("T")

_PASSWORD = re.compile(r"[A-Za-z0-9_-]{24,}")
"""As `secrets.token_urlsafe(24)` writes them, and not the half of one; no server's configuration has to quote it."""


MOST_BYTES = 16 * 1024 * 1024
"""Of a state file; a list of 50,000 partners has as many."""


class Damaged(CannotRun):
    """A state file is not what was written into it, or not to be read: what it would have said is unknown."""

    def __init__(self, path: Path, why: str | Exception, then: str = "put it back from a backup") -> None:
        if isinstance(why, PermissionError):
            super().__init__(
                f"{path} cannot be read by {_us()}: {why.strerror}. Be the user by whom it was written, or have it be "
                "yours again (chown, chmod 600); nothing was changed"
            )
            return
        super().__init__(f"{path} is damaged ({why}); {then}: docs/runbook.md, “A file of the region is damaged”")


def _us() -> str:
    """Who we are to the system."""
    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"the user {os.geteuid()}"


def read(path: Path, most: int = MOST_BYTES) -> bytes:
    """What is in a file, at once whatever lies there: a pipe that nobody writes to would keep its reader for ever, and
    what is larger than any such file is none. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
    return content


def write(path: Path, content: bytes) -> None:
    """In the place of what was there: whole or not at all, whatever happens, and for its owner alone (0600). Raises
    OSError."""
    fresh = _beside(path, content)
    try:
        put_in_place(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def put_in_place(fresh: Path, path: Path) -> None:
    """Have a file that was written beside another take its place: whole or not at all, whatever happens. Raises
    OSError."""
    sync(fresh)
    fresh.replace(path)
    sync(path.parent)


def write_once(path: Path, content: bytes) -> None:
    """As `write`, but what is there already stays, whoever else tries at the same time. Raises OSError."""
    if path.exists():
        return
    fresh = _beside(path, content)
    try:
        sync(fresh)
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """As `write`, for people to read, too."""
    write(path, msgspec.json.format(msgspec.json.encode(value)) + b"\n")


def read_json(path: Path, type: type[T], then: str = "put it back from a backup") -> T | None:
    """What `write_json` has written; None where there is no file. `then` is what helps. Raises Damaged."""
    try:
        return msgspec.json.decode(read(path), type=type)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise Damaged(path, error, then) from error


def read_password(path: Path, then: str) -> str:
    """A secret that this program has made. Raises Damaged."""
    try:
        password = read(path).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(path, "missing" if isinstance(error, FileNotFoundError) else error, then) from error
    if not _PASSWORD.fullmatch(password):
        raise Damaged(path, "empty" if not password else "not 24 or more letters, digits, _ and -", then)
    return password


def _beside(path: Path, content: bytes) -> Path:
    """A file of mode 0600 in the same directory."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except BaseException:
        fresh.unlink()
        raise
    return fresh


def sync(path: Path) -> None:
    """Have it survive a power cut what is in a file, or in a directory under which name. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
