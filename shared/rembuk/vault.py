"""Personal data sealed under a key per person: events carry ciphertext, erasing is destroying the key."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from uuid import UUID

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rembuk.database import UNREACHABLE, Unavailable, borrowed, close_pool, open_pool

SCHEMA = files("rembuk").joinpath("vault.sql").read_text()

KEPT_KEYS = 1_000
"""Unwrapped keys a process remembers, the least lately used goes first."""
TRUSTED_SECONDS = 5.0
"""How long a remembered key is used unasked: within it an erasure made by another process is noticed."""

_NONCE, _KEY = 12, 32  # bytes; a random nonce is safe for 2^32 uses of a key (NIST SP 800-38D, 8.3)
_SEALED = re.compile(  # 38 characters: the nonce and the tag of an empty text
    r"sealed:v1:([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}):([A-Za-z0-9_-]{38,})"
)
_KEY_TEXT = re.compile(r"[A-Za-z0-9+/]{43}=")

_READ = "select wrapped, key_id from vault_key where person = $1"
_ADD = "insert into vault_key (person, wrapped, key_id) values ($1, $2, $3) on conflict do nothing"
_ERASE = "delete from vault_key where person = $1 returning true"


class NotSealed(ValueError):
    """The text is not what `Vault.seal` returns."""


class Erased(Exception):
    """The person's key is gone, and with it the data."""


class Tampered(Exception):
    """Not what was sealed for this person and this event, or their stored key was changed."""


class WrongRegionKey(Exception):
    """The person's key is wrapped by another region key than the one at hand."""


class BadRegionKey(Exception):
    """The setting leads to no usable region key."""


class RegionKey:
    """The key that wraps the keys of persons; shows only its `key_id`, the first 8 hex of its SHA-256."""

    __slots__ = ("_cipher", "key_id")

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY:
            raise BadRegionKey(f"a region key has {_KEY} bytes, not {len(key)}")
        self.key_id = sha256(key).hexdigest()[:8]
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return f"RegionKey(key_id={self.key_id!r})"

    @classmethod
    def load(cls, setting: str | Path, *, create: bool = False) -> RegionKey:
        """The key a setting means: base64 of its 32 bytes, or the path of a file of mode 0600 holding that.

        A str that is no key must be an absolute path: a mistyped key shall not end up as a file name or in a
        message. With `create` a missing file is made; processes that do so at once end with the same key.
        Raises BadRegionKey.
        """
        if isinstance(setting, str):
            setting = setting.strip()
            if _KEY_TEXT.fullmatch(setting):
                return cls(base64.b64decode(setting))
            if not setting.startswith("/"):
                raise BadRegionKey(f"the region key is neither {_KEY} bytes in base64 nor an absolute path")
        path = Path(setting)
        try:
            if create and not path.exists():
                _create(path)
            text = _read_private(path)
        except OSError as error:
            raise BadRegionKey(f"the region key in {path} cannot be had: {error.strerror}") from error
        if not _KEY_TEXT.fullmatch(text):
            raise BadRegionKey(f"{path} does not hold {_KEY} bytes in base64")
        return cls(base64.b64decode(text))

    def wrap(self, person: UUID, key: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, key, person.bytes + b"vault-key")

    def unwrap(self, person: UUID, wrapped: bytes) -> bytes:
        """Raises Tampered."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], person.bytes + b"vault-key")
        except InvalidTag:
            raise Tampered(f"the stored key of person {person} does not authenticate") from None


def _create(path: Path) -> None:
    """Write a new key beside its place, then link it there: whoever comes second finds the first one's."""
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


def _read_private(path: Path) -> str:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise BadRegionKey(f"{path} is open to others than its owner; chmod 600 it")
        return file.read(1024).decode("ascii", "replace").strip()


def person_of(sealed: str) -> UUID:
    """Whose data it is; nothing is opened. Raises NotSealed."""
    return _parts(sealed)[0]


def _parts(sealed: str) -> tuple[UUID, bytes]:
    """Person, and nonce with ciphertext. Only the one spelling of these bytes that `seal` writes is taken."""
    if match := _SEALED.fullmatch(sealed):
        person, body = match.groups()
        with suppress(binascii.Error):
            data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
            if _base64url(data) == body:
                return UUID(person), data
    raise NotSealed("not of the form sealed:v1:<person>:<base64url>")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(slots=True)
class _Kept:
    cipher: AESGCM
    until: float


class Vault:
    """Seals and opens with the keys in one service's `vault_key` table. Start it before use, stop it after.

    A person is an opaque id. Who was erased and comes back needs a new one: under the same id a new key would
    be made, and what was sealed under the old one would then be Tampered instead of Erased.
    """

    def __init__(
        self,
        url: str,
        region_key: RegionKey,
        name: str = "rembuk",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_pool = partial(open_pool, url, f"{name} vault", 4)
        self._pool: asyncpg.Pool[asyncpg.Record]
        self._region_key = region_key
        self._clock = clock
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._erasures = 0

    async def start(self) -> None:
        self._pool = await self._open_pool()

    async def stop(self) -> None:
        await close_pool(self._pool)
        self._kept.clear()

    async def seal(self, person: UUID, event_id: UUID, clear: str | bytes) -> str:
        """`sealed:v1:<person>:<base64url of nonce and ciphertext>`, opened with the same `event_id` only.

        The person's key is made and committed at first use. What is sealed within `TRUSTED_SECONDS` of an
        erasure by another process may be erased with the rest. Raises ValueError (no UTF-8 text),
        WrongRegionKey, Tampered (the stored key), Unavailable.
        """
        data = _utf8(clear)
        if data is None:
            raise ValueError("only UTF-8 text can be sealed")
        cipher = self._remembered(person) or await self._fetch(person) or await self._first(person)
        nonce = secrets.token_bytes(_NONCE)
        return f"sealed:v1:{person}:{_base64url(nonce + cipher.encrypt(nonce, data, event_id.bytes))}"

    async def open(self, sealed: str, event_id: UUID) -> str:
        """The text `seal` was given. Raises NotSealed, Erased, Tampered, WrongRegionKey, Unavailable."""
        person, data = _parts(sealed)
        if cipher := self._remembered(person):
            with suppress(InvalidTag):  # erased elsewhere and given a new key since: ask before crying wolf
                return _opened(cipher, data, event_id)
        fetched = await self._fetch(person)
        if fetched is None:
            raise Erased(f"the key of person {person} is gone")
        try:
            return _opened(fetched, data, event_id)
        except InvalidTag:
            raise Tampered(f"the data of person {person} in event {event_id} does not authenticate") from None

    async def erase(self, person: UUID) -> bool:
        """Destroy the person's key for good; whether there was one. Raises Unavailable (then ask again)."""
        try:
            return bool(await self._ask(_ERASE, person))
        finally:
            self._erasures += 1
            self._kept.pop(person, None)

    def _remembered(self, person: UUID) -> AESGCM | None:
        kept = self._kept.get(person)
        if kept is None or self._clock() >= kept.until:
            return None
        self._kept.move_to_end(person)
        return kept.cipher

    async def _fetch(self, person: UUID) -> AESGCM | None:
        """The person's key as it stands in the table now."""
        until, erasures = self._clock() + TRUSTED_SECONDS, self._erasures
        row = await self._ask(_READ, person)
        if row is None:
            self._kept.pop(person, None)
            return None
        if row["key_id"] != self._region_key.key_id:
            raise WrongRegionKey(
                f"the key of person {person} is wrapped by {row['key_id']}, not by {self._region_key.key_id}"
            )
        cipher = AESGCM(self._region_key.unwrap(person, row["wrapped"]))
        if erasures == self._erasures:  # else what was read may be what was erased meanwhile
            self._kept[person] = _Kept(cipher, until)
            self._kept.move_to_end(person)
            if len(self._kept) > KEPT_KEYS:
                self._kept.popitem(last=False)
        return cipher

    async def _first(self, person: UUID) -> AESGCM:
        """Offer a new key, then take the one that stands: of several first uses one wins."""
        while True:
            wrapped = self._region_key.wrap(person, secrets.token_bytes(_KEY))
            await self._ask(_ADD, person, wrapped, self._region_key.key_id)
            if cipher := await self._fetch(person):
                return cipher

    async def _ask(self, query: str, *arguments: object) -> asyncpg.Record | None:
        try:
            async with borrowed(self._pool) as connection:
                row: asyncpg.Record | None = await connection.fetchrow(query, *arguments)
        except UNREACHABLE as error:
            raise Unavailable(f"the vault cannot be reached: {error}") from error
        return row


def _opened(cipher: AESGCM, data: bytes, event_id: UUID) -> str:
    """Raises InvalidTag. What was sealed was UTF-8."""
    return cipher.decrypt(data[:_NONCE], data[_NONCE:], event_id.bytes).decode(errors="replace")


def _utf8(clear: str | bytes) -> bytes | None:
    """None where it is no UTF-8 text. Python's own error would carry the text, so it does not leave here."""
    try:
        return clear.encode() if isinstance(clear, str) else clear.decode().encode()
    except UnicodeError:
        return None
