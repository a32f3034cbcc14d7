"""The region's key, which wraps the keys of persons: where it is had from, and the older ones it takes over from."""

from __future__ import annotations

import base64
import os
import re
import secrets
import shlex
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rembuk.settings import CannotRun

COMMAND = "command:"
COMMAND_S = 10

_NONCE, _KEY = 12, 32  # bytes
_KEY_TEXT = re.compile(r"[A-Za-z0-9+/]{43}=")


class BadRegionKey(CannotRun):
    """The setting leads to no usable region key."""


class WrongRegionKey(Exception):
    """A person's key is wrapped by another region key than those at hand."""


class Tampered(Exception):
    """Not what was sealed for this person and this event, or their stored key was changed."""


class RegionKey:
    """One key of 32 bytes; shows only its `key_id`, the first 8 hex of its SHA-256."""

    __slots__ = ("_cipher", "key_id")

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY:
            raise BadRegionKey(f"a region key has {_KEY} bytes, not {len(key)}")
        self.key_id = sha256(key).hexdigest()[:8]
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return f"RegionKey(key_id={self.key_id!r})"

    def wrap(self, person: UUID, key: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, key, person.bytes + b"vault-key")

    def unwrap(self, person: UUID, wrapped: bytes) -> bytes:
        """Raises Tampered."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], person.bytes + b"vault-key")
        except InvalidTag:
            raise Tampered(f"the stored key of person {person} does not authenticate") from None


class RegionKeys:
    """The current key, and while it is taking over from them the older ones that still wrap keys of persons.

    Keys of a file are read again when it changes, so that a rotation needs no restart; a file that is gone or spoilt
    meanwhile changes nothing."""

    def __init__(self, keys: Iterable[RegionKey], path: Path | None = None) -> None:
        self._path, self._stamp = path, 0
        self._keys = {key.key_id: key for key in keys}

    def __repr__(self) -> str:
        return f"RegionKeys({', '.join(self._keys)})"

    @classmethod
    def load(cls, setting: str) -> RegionKeys:
        """The keys that a setting means, the current one first, each 32 bytes in base64, apart by white space.

        The setting is the keys themselves; or the absolute path of a file of mode 0600 that holds them; or `command:`
        and a program with its arguments (no shell), which writes them within 10 s. What is none of these is never told
        in a message: it may be a mistyped key. Raises BadRegionKey.
        """
        setting = setting.strip()
        if setting.startswith(COMMAND):
            return cls(_parsed(_said_by(setting.removeprefix(COMMAND)), "the command for the region key"))
        if setting.startswith("/"):
            kept = cls((), path := Path(setting))
            kept._read(path)
            return kept
        return cls(_parsed(setting, "the region key"))

    @property
    def current(self) -> RegionKey:
        self._look_again()
        return next(iter(self._keys.values()))

    @property
    def ids(self) -> list[str]:
        """Of the keys at hand, the current one's first."""
        return list(self._keys)

    def __getitem__(self, key_id: str) -> RegionKey:
        """Raises WrongRegionKey."""
        if key_id not in self._keys:
            self._look_again()
        try:
            return self._keys[key_id]
        except KeyError:
            raise WrongRegionKey(f"wrapped by the region key {key_id}; at hand is {', '.join(self._keys)}") from None

    def _look_again(self) -> None:
        if self._path is not None:
            with suppress(OSError, BadRegionKey):
                if self._path.stat().st_mtime_ns != self._stamp:
                    self._read(self._path)

    def _read(self, path: Path) -> None:
        """Raises BadRegionKey."""
        try:
            stamp, text = path.stat().st_mtime_ns, _read_private(path)
        except OSError as error:
            raise BadRegionKey(f"the region key in {path} cannot be had: {error.strerror}") from error
        self._keys = {key.key_id: key for key in _parsed(text, str(path))}
        self._stamp = stamp


def create(path: Path) -> None:
    """Write a new key beside its place, then link it there: who comes second finds the first one's. Raises OSError."""
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(_KEY)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        os.unlink(beside)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _parsed(text: str, where: str) -> list[RegionKey]:
    words = text.split()
    if not words or not all(map(_KEY_TEXT.fullmatch, words)):
        raise BadRegionKey(f"{where} is not {_KEY} bytes in base64")
    return [RegionKey(base64.b64decode(word)) for word in words]


def _read_private(path: Path) -> str:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise BadRegionKey(f"{path} is open to others than its owner; chmod 600 it")
        return file.read(1024).decode("ascii", "replace")


def _said_by(command: str) -> str:
    """What a command writes; what it says besides may carry the key, and stays unsaid."""
    try:
        said = subprocess.run(
            shlex.split(command), capture_output=True, timeout=COMMAND_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        raise BadRegionKey(f"the command for the region key failed: {type(error).__name__}") from None
    return said.stdout.decode("ascii", "replace")
