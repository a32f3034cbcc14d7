"""Ids derived from what they name, so that whoever derives one again gets the same."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

import uuid_utils
from asyncpg.pgproto import pgproto

NAMESPACE = UUID("5f0c2f6e-6f0a-5c1b-9a51-2c7a1f0b3d4e")
"""Of every id derived in Rembuk."""

_namespace = uuid_utils.UUID(str(NAMESPACE))
_uuid = pgproto.UUID  # as asyncpg reads them: made and written many times as fast as others


def derive_id(*parts: object) -> UUID:
    """The UUIDv5 (RFC 9562, 5.5) of the parts: the same parts, anywhere and ever after, name the same thing."""
    return _uuid(uuid_utils.uuid5(_namespace, "\x1f".join([str(part) for part in parts])).bytes)


@lru_cache(maxsize=256)
def event_id(key: UUID | str, number: int = 0) -> UUID:
    """The id of an event that the command under an idempotency key leads to: its first (0), second, ...

    Remembered, for whoever seals what is in it asks shortly before whoever records it."""
    return derive_id(key, number)
