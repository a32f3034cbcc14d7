"""Personal data sealed under a key per person: events carry ciphertext, erasing is destroying the key."""

from __future__ import annotations

import binascii
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rembuk.events.ids import derive_id
from rembuk.keys import randomness
from rembuk.keys.region_key import RegionKey, RegionKeys, Tampered, Unopened, WrappedKey
from rembuk.postgres.database import UNREACHABLE, Pool, Unavailable, borrowed, open_pool

KEPT_KEYS = 1_000
"""Unwrapped keys a process remembers, the least lately used goes first."""
TRUSTED_SECONDS = 5.0
"""How long a remembered key is used unasked: within it an erasure made by another process is noticed."""

_NONCE, _KEY = 12, 32  # bytes; a random nonce is safe for 2^32 uses of a key (NIST SP 800-38D, 8.3)
_FORM = "sealed:v1:"
_SEALED = re.compile(  # 38 characters: the nonce and the tag of an empty text
    r"sealed:v1:([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}):([A-Za-z0-9_-]{38,})"
)

_URL_SAFE, _STANDARD = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")

_READ = "select person, wrapped, key_id from vault_key where person = any($1)"
_READ_WITHIN = """select (select epoch::text from vault_epoch), person, wrapped, key_id
                  from vault_key where person = any($1)"""
_ADD = "insert into vault_key (person, wrapped, key_id) values ($1, $2, $3) on conflict do nothing"
_ERASED = """select (data->>'person')::uuid as person, data->>'ground' as ground from log.event
             where stream_id = any($1) and type = 'PersonErased' order by position desc"""
_ERASE = "delete from vault_key where person = $1 returning true"
_WRAPPED_BY_OTHERS = "select person, wrapped, key_id from vault_key where key_id <> $1 limit $2 for update"
_REWRAP = """update vault_key set wrapped = wrap.anew, key_id = $3
             from unnest($1::uuid[], $2::bytea[]) as wrap (person, anew) where vault_key.person = wrap.person"""


class NotSealed(ValueError):
    """The text is not what `Vault.seal` returns."""


class Erased(Exception):
    """The person's key is gone, and with it the data, as the log says; `ground` is the first that it names, which may
    be a word of a later release."""

    def __init__(self, person: UUID, ground: str) -> None:
        super().__init__(f"person {person} is erased")
        self.ground = ground


class KeyMissing(Tampered):
    """The person's key is gone, and the log tells of no erasure: a backup of it was not restored, or it was deleted."""

    fault = "key-missing"


def stream_of(person: UUID) -> UUID:
    """Where the log tells that a person is erased."""
    return derive_id("person", person)


def is_sealed(text: str) -> bool:
    """Whether it has the form of what `seal` returns."""
    try:
        return text.startswith(_FORM) and bool(_parts(text))
    except NotSealed:
        return False


def person_of(sealed: str) -> UUID:
    """Whose data it is; nothing is opened. Raises NotSealed."""
    return _parts(sealed)[0]


def _parts(sealed: str) -> tuple[UUID, bytes]:
    """Person, and nonce with ciphertext. Only the one spelling of these bytes that `seal` writes is taken."""
    if match := _SEALED.fullmatch(sealed):
        person, body = match.groups()
        try:
            data = binascii.a2b_base64(f"{body}{'=' * (-len(body) % 4)}".encode().translate(_STANDARD))
        except binascii.Error:
            data = b""
        if _base64url(data) == body:
            return UUID(person), data
    raise NotSealed("not of the form sealed:v1:<person>:<base64url>")


def _base64url(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_URL_SAFE).decode()


@dataclass(slots=True)
class _Kept:
    cipher: AESGCM
    until: float


class NewKey:
    """The key of somebody first met. Whoever seals with it has `wrapped` recorded with the event, by `EventLog.append`:
    so key and event are there together or not at all, and the vault is asked nothing."""

    __slots__ = ("_cipher", "_person", "wrapped")

    def __init__(self, person: UUID, region_key: RegionKey) -> None:
        key = randomness.take(_KEY)
        self._person, self._cipher = person, AESGCM(key)
        self.wrapped = WrappedKey(person, region_key.wrap(person, key), region_key.key_id)

    def seal(self, event_id: UUID, clear: str | bytes) -> str:
        """As `Vault.seal`; raises ValueError (no UTF-8 text)."""
        return _sealed(self._cipher, self._person, event_id, clear)


class Vault:
    """Seals and opens with the keys in one service's `vault_key` table. Start it before use, stop it after.

    A person is an opaque id. Who was erased and comes back needs a new one: under the same id a new key would
    be made, and what was sealed under the old one would then be Tampered instead of Erased.
    """

    def __init__(
        self,
        url: str,
        region_keys: RegionKeys,
        name: str = "rembuk",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_pool = partial(open_pool, url, f"{name} vault", 4)
        self._pool: Pool
        self._region_keys = region_keys
        self._clock = clock
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._erasures = 0

    async def start(self) -> None:
        self._pool = self._open_pool()

    async def stop(self) -> None:
        await self._pool.close()
        self._kept.clear()

    async def seal(self, person: UUID, event_id: UUID, clear: str | bytes) -> str:
        """`sealed:v1:<person>:<base64url of nonce and ciphertext>`, opened with the same `event_id` only.

        The person's key is made and committed at first use. What is sealed within `TRUSTED_SECONDS` of an
        erasure by another process may be erased with the rest. Raises ValueError (no UTF-8 text),
        WrongRegionKey, Tampered (the stored key), Unavailable.
        """
        cipher = self._remembered(person) or await self._fetch(person) or await self._first(person)
        return _sealed(cipher, person, event_id, clear)

    def mark(self, text: str) -> bytes:
        """As `RegionKey.mark`, by the current key: by which what is sealed is found to be the same."""
        return self._region_keys.current.mark(text)

    def new_key(self, person: UUID) -> NewKey:
        """A key for somebody who has none, to be recorded with the event that is sealed under it."""
        return NewKey(person, self._region_keys.current)

    async def open(self, sealed: str, event_id: UUID, *, fresh: bool = False) -> str:
        """The text `seal` was given; where it has to be `fresh` by a key that is there now, and not one that was within
        `TRUSTED_SECONDS`. Raises NotSealed, Erased, Unopened, Unavailable."""
        person, data = _parts(sealed)
        if not fresh and (cipher := self._remembered(person)):
            with suppress(InvalidTag):  # erased elsewhere and given a new key since: ask before crying wolf
                return _opened(cipher, data, event_id)
        opened = self._opened((await self._asked([person]))[person], person, data, event_id)
        if not isinstance(opened, str):
            raise opened
        return opened

    def open_by(self, key: WrappedKey, sealed: str, event_id: UUID) -> str | Unopened:
        """The text, by the key that stands in the table, as its reader has just read it."""
        try:
            person, data = _parts(sealed)
            if person != key.person:
                return Tampered(f"the data of event {event_id} are sealed under another key than they say")
            return _opened(AESGCM(self._region_keys[key.key_id].unwrap(person, key.wrapped)), data, event_id)
        except Unopened as error:
            return error
        except InvalidTag:
            return Tampered(f"the data of person {key.person} in event {event_id} does not authenticate")

    async def wrapped_keys(self, persons: Sequence[UUID]) -> tuple[str, dict[UUID, WrappedKey]]:
        """Persons' keys as they stand in the table now, and in which epoch that is: "" where there are none of them.
        Raises Unavailable."""
        rows = await self._ask(_READ_WITHIN, persons)
        keys = {person: WrappedKey(person, wrapped, key_id) for _, person, wrapped, key_id in rows}
        return rows[0]["epoch"] if rows else "", keys

    async def open_many(self, sealed: Iterable[tuple[str, UUID]]) -> list[str | None]:
        """The texts of (sealed, event id) pairs, with one question to the database at most; None for who was erased.

        Raises NotSealed, Unopened, Unavailable."""
        opened: list[str | None] = []
        for one in await self.open_each(sealed):
            if isinstance(one, Unopened):
                raise one
            opened.append(None if isinstance(one, Erased) else one)
        return opened

    async def open_each(self, sealed: Iterable[tuple[str, UUID]]) -> list[str | Erased | Unopened]:
        """As `open_many`, but what cannot be opened takes nothing else with it: its error stands in its place."""
        parts = [(*_parts(text), event_id) for text, event_id in sealed]
        known = {person: self._remembered(person) for person, *_ in parts}
        keys: dict[UUID, AESGCM | Erased | Unopened] = {person: key for person, key in known.items() if key is not None}
        if unknown := known.keys() - keys.keys():
            keys |= await self._asked([*unknown])
        return [self._opened(keys[person], person, data, event_id) for person, data, event_id in parts]

    async def knows(self, person: UUID) -> bool:
        """Whether there is a key of theirs. Raises Unavailable."""
        return bool(await self._ask(_READ, [person]))

    async def erase(self, person: UUID) -> bool:
        """Destroy the person's key for good; whether there was one. Raises Unavailable (then ask again)."""
        try:
            return bool(await self._ask(_ERASE, person))
        finally:
            self._erasures += 1
            self._kept.pop(person, None)

    async def rewrap(self, limit: int = 500) -> int:
        """Have the current region key wrap up to so many persons' keys that an older one wraps; how many there were.

        Raises WrongRegionKey (the older one is not at hand), Tampered, Unavailable; then none was changed."""
        current = self._region_keys.current
        try:
            async with borrowed(self._pool) as connection, connection.transaction():
                rows = await connection.fetch(_WRAPPED_BY_OTHERS, current.key_id, limit)
                persons = [row["person"] for row in rows]
                anew = [
                    current.wrap(person, self._region_keys[key_id].unwrap(person, wrapped))
                    for person, wrapped, key_id in rows
                ]
                await connection.execute(_REWRAP, persons, anew, current.key_id)
        except UNREACHABLE as error:
            raise Unavailable(f"the vault cannot be reached: {error}") from error
        return len(rows)

    def _remembered(self, person: UUID) -> AESGCM | None:
        kept = self._kept.get(person)
        if kept is None or self._clock() >= kept.until:
            return None
        self._kept.move_to_end(person)
        return kept.cipher

    @staticmethod
    def _opened(key: AESGCM | Erased | Unopened, person: UUID, data: bytes, event_id: UUID) -> str | Erased | Unopened:
        """The text, or why there is none."""
        try:
            return _opened(key, data, event_id) if isinstance(key, AESGCM) else key
        except InvalidTag:
            return Tampered(f"the data of person {person} in event {event_id} does not authenticate")

    async def _asked(self, persons: Sequence[UUID]) -> dict[UUID, AESGCM | Erased | Unopened]:
        """Persons' keys as they stand in the table now, or why each is of no use. What is erased is in the log before
        its key is destroyed, so the log is asked last."""
        keys = await self._fetch_many(persons)
        gone = await self.why_gone([person for person, key in keys.items() if key is None])
        return {person: key or gone[person] for person, key in keys.items()}

    async def why_gone(self, persons: Sequence[UUID]) -> dict[UUID, Erased | KeyMissing]:
        """Why there is no key of some persons, as the log says. Raises Unavailable."""
        if not persons:
            return {}
        places = [*map(stream_of, persons), *persons]  # a subscription's own stream tells of its person by that id
        told = {row["person"]: row["ground"] for row in await self._ask(_ERASED, places)}
        return {person: Erased(person, told[person]) if person in told else _missing(person) for person in persons}

    async def _fetch(self, person: UUID) -> AESGCM | None:
        """The person's key as it stands in the table now. Raises Unopened."""
        key = (await self._fetch_many([person]))[person]
        if isinstance(key, Unopened):
            raise key
        return key

    async def _fetch_many(self, persons: Sequence[UUID]) -> dict[UUID, AESGCM | Unopened | None]:
        """Persons' keys as they stand in the table now, None for those that are not there."""
        until, erasures = self._clock() + TRUSTED_SECONDS, self._erasures
        rows = {row["person"]: row for row in await self._ask(_READ, persons)}
        ciphers: dict[UUID, AESGCM | Unopened | None] = {}
        for person in persons:
            row = rows.get(person)
            if row is None:
                self._kept.pop(person, None)
                ciphers[person] = None
                continue
            try:
                cipher = ciphers[person] = AESGCM(self._region_keys[row["key_id"]].unwrap(person, row["wrapped"]))
            except Unopened as error:
                self._kept.pop(person, None)
                ciphers[person] = error
                continue
            if erasures == self._erasures:  # else what was read may be what was erased meanwhile
                self._kept[person] = _Kept(cipher, until)
                self._kept.move_to_end(person)
                if len(self._kept) > KEPT_KEYS:
                    self._kept.popitem(last=False)
        return ciphers

    async def _first(self, person: UUID) -> AESGCM:
        """Offer a new key, then take the one that stands: of several first uses one wins."""
        while True:
            region_key = self._region_keys.current
            wrapped = region_key.wrap(person, randomness.take(_KEY))
            await self._ask(_ADD, person, wrapped, region_key.key_id)
            if cipher := await self._fetch(person):
                return cipher

    async def _ask(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        try:
            async with borrowed(self._pool) as connection:
                rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
        except UNREACHABLE as error:
            raise Unavailable(f"the vault cannot be reached: {error}") from error
        return rows


def _missing(person: UUID) -> KeyMissing:
    return KeyMissing(f"the key of person {person} is missing, and no PersonErased is in the log")


def _sealed(cipher: AESGCM, person: UUID, event_id: UUID, clear: str | bytes) -> str:
    data = _utf8(clear)
    if data is None:
        raise ValueError("only UTF-8 text can be sealed")
    nonce = randomness.take(_NONCE)
    return f"sealed:v1:{person}:{_base64url(nonce + cipher.encrypt(nonce, data, event_id.bytes))}"


def _opened(cipher: AESGCM, data: bytes, event_id: UUID) -> str:
    """Raises InvalidTag. What was sealed was UTF-8."""
    return cipher.decrypt(data[:_NONCE], data[_NONCE:], event_id.bytes).decode(errors="replace")


def _utf8(clear: str | bytes) -> bytes | None:
    """None where it is no UTF-8 text. Python's own error would carry the text, so it does not leave here."""
    try:
        return clear.encode() if isinstance(clear, str) else clear.decode().encode()
    except UnicodeError:
        return None
