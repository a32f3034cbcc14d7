"""The region's key, which wraps the keys of persons: where it is had from, and the older ones it takes over from."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rembuk.keys import randomness
from rembuk.keys.key_setting import KEY, BadKey, key_id, path_of, read_keys

_NONCE = 12  # bytes


Fault = Literal["key-missing", "key-damaged", "text-damaged", "region-key-missing"]


class Unopened(Exception):
    """What nobody has erased cannot be opened; `fault` says why."""

    fault: Fault


class WrongRegionKey(Unopened):
    """A person's key is wrapped by another region key than those at hand."""

    fault = "region-key-missing"


class Tampered(Unopened):
    """Not what was sealed for this person and this event, or their stored key was changed."""

    fault: Fault = "text-damaged"


class SpoiltKey(Tampered):
    """A person's stored key is not what was wrapped for them."""

    fault = "key-damaged"


class WrappedKey(NamedTuple):
    """A person's key as `vault_key` holds it: 60 bytes, and which region key wraps it."""

    person: UUID
    wrapped: bytes
    key_id: str


class RegionKey:
    """One key of 32 bytes; shows only its `key_id`."""

    __slots__ = ("_cipher", "_marking", "key_id")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY:
            raise BadKey(f"a region key has {KEY} bytes, not {len(key)}")
        self.key_id = key_id(key)
        self._cipher = AESGCM(key)
        self._marking = hmac.digest(key, b"rembuk mark", "sha256")

    def __repr__(self) -> str:
        return f"RegionKey(key_id={self.key_id!r})"

    def wrap(self, person: UUID, key: bytes) -> bytes:
        nonce = randomness.take(_NONCE)
        return nonce + self._cipher.encrypt(nonce, key, person.bytes + b"vault-key")

    def mark(self, text: str) -> bytes:
        """16 bytes, equal for equal texts, by which nobody without the key can tell or guess the text."""
        return hmac.digest(self._marking, text.encode(), "sha256")[:16]

    def unwrap(self, person: UUID, wrapped: bytes) -> bytes:
        """Raises SpoiltKey."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], person.bytes + b"vault-key")
        except InvalidTag:
            raise SpoiltKey(f"the stored key of person {person} does not authenticate") from None


class RegionKeys:
    """The current key, and while it is taking over from them the older ones that still wrap keys of persons.

    Keys of a file are read again when it changes, so that a rotation needs no restart. A file that is gone or spoilt
    meanwhile changes nothing, and a key that it has no more stays at hand for reading until the process ends: it may
    be the last copy."""

    def __init__(self, keys: Iterable[RegionKey], path: Path | None = None) -> None:
        self._path, self._stamp = path, 0
        self._keys = {key.key_id: key for key in keys}

    def __repr__(self) -> str:
        return f"RegionKeys({', '.join(self._keys)})"

    @classmethod
    def load(cls, setting: str) -> RegionKeys:
        """The keys that a setting means (see `rembuk.keys.key_setting`), the current one first. Raises BadKey."""
        if path := path_of(setting):
            kept = cls((), path)
            kept._read(path)
            return kept
        return cls(map(RegionKey, read_keys(setting, "the region key")))

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
            with suppress(OSError, BadKey):
                if self._path.stat().st_mtime_ns != self._stamp:
                    self._read(self._path)

    def _read(self, path: Path) -> None:
        """Raises BadKey."""
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        read = {key.key_id: key for key in map(RegionKey, read_keys(str(path), "the region key"))}
        self._keys = read | self._keys  # those of the file come first
        self._stamp = stamp
