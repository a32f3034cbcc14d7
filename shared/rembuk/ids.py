"""Ids derived from what they name, so that whoever derives one again gets the same."""

from uuid import UUID

import uuid_utils.compat as uuids

NAMESPACE = UUID("5f0c2f6e-6f0a-5c1b-9a51-2c7a1f0b3d4e")
"""Of every id derived in Rembuk (RFC 9562, UUIDv5)."""


def derive_id(*parts: object) -> UUID:
    """The UUIDv5 of the parts: the same parts, anywhere and ever after, name the same thing."""
    return uuids.uuid5(NAMESPACE, "\x1f".join(map(str, parts)))
