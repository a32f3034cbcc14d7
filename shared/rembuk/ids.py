"""Ids derived from what they name, so that whoever derives one again gets the same."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha1
from uuid import UUID

from asyncpg.pgproto import pgproto

NAMESPACE = UUID("5f0c2f6e-6f0a-5c1b-9a51-2c7a1f0b3d4e")
"""Of every id derived in Rembuk."""

_namespace = NAMESPACE.bytes
_uuid = pgproto.UUID  # as asyncpg reads them: made and written many times as fast as others


def derive_id(*parts: object) -> UUID:
    """The UUIDv5 (RFC 9562, 5.5) of the parts: the same parts, anywhere and ever after, name the same thing."""
    name = "\x1f".join(map(str, parts)).encode()
    digest = bytearray(sha1(_namespace + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # version
    digest[8] = digest[8] & 0x3F | 0x80  # variant
    return _uuid(bytes(digest))


@lru_cache(maxsize=256)
def event_id(key: UUID | str, number: int = 0) -> UUID:
    """The id of an event that the command under an idempotency key leads to: its first (0), second, ...

    Remembered, for whoever seals what is in it asks shortly before whoever records it."""
    return derive_id(key, number)
