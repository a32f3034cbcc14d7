"""What one region seals for another one: HPKE (RFC 9180) under a key pair that the region makes once.

The private half lies in the vault of its reports service, wrapped by the region key as the keys of persons are, under
an opaque id of the region's own: so a rotation of the region key takes it along, and a backup of the vault has it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from rembuk.events.ids import derive_id
from rembuk.keys import randomness
from rembuk.keys.region_key import RegionKeys, Tampered

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_KEY = 32  # bytes, of either half
_PREFIX = "hpke:v1:"

_READ = "select wrapped, key_id from vault_key where person = $1"
_ADD = "insert into vault_key (person, wrapped, key_id) values ($1, $2, $3) on conflict do nothing"


class BadPublicKey(ValueError):
    """The text is not what `KeyPair.public_key` tells."""


class NotForUs(Exception):
    """Not what was sealed for this key pair and this purpose."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Shows its public half only: 32 bytes in base64url."""

    public_key: str
    _private: X25519PrivateKey

    def __repr__(self) -> str:
        return f"KeyPair({self.public_key!r})"

    @classmethod
    def of(cls, private: bytes) -> KeyPair:
        """The pair with these 32 random bytes as its private half."""
        key = X25519PrivateKey.from_private_bytes(private)
        return cls(_base64url(key.public_key().public_bytes_raw()), key)

    def open(self, sealed: str, associated: bytes) -> bytes:
        """What `seal_for` was given, with the same `associated`. Raises NotForUs."""
        try:
            if not sealed.startswith(_PREFIX):
                raise ValueError
            return _SUITE.decrypt(_bytes(sealed.removeprefix(_PREFIX)), self._private, info=associated)
        except (ValueError, InvalidTag):
            raise NotForUs("it was sealed for another region, for something else, or was changed") from None


def seal_for(public_key: str, clear: bytes, associated: bytes) -> str:
    """`hpke:v1:<base64url>`, which the region of that public key alone can open, and as `associated` alone. Raises
    BadPublicKey."""
    try:
        key = X25519PublicKey.from_public_bytes(_bytes(public_key))
        return _PREFIX + _base64url(_SUITE.encrypt(clear, key, info=associated))
    except ValueError:  # also for a point of low order, with which everybody shares one secret
        raise BadPublicKey(f"{public_key!r} is no public key of a region") from None


async def load_pair(connection: asyncpg.Connection[Any], region_keys: RegionKeys, region: str) -> KeyPair:
    """The region's own pair, made at first use, from the database of its reports. Raises WrongRegionKey, Tampered, and
    what `rembuk.postgres.database.UNREACHABLE` lists."""
    ours, current = derive_id("referral key", region), region_keys.current
    row = await connection.fetchrow(_READ, ours)
    if row is None:
        await connection.execute(_ADD, ours, current.wrap(ours, randomness.take(_KEY)), current.key_id)
        row = await connection.fetchrow(_READ, ours)
    if row is None:
        raise Tampered(f"the referral key of {region} was taken away while it was made")
    return KeyPair.of(region_keys[row["key_id"]].unwrap(ours, row["wrapped"]))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
