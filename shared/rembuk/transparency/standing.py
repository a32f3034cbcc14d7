"""How far a log is signed, and by whom.

It imports little, for `rembuk status` starts with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import asyncpg

_SIGNED = """select size, extract(epoch from clock_timestamp() - signed_at)::float8 as age_s
             from log.tree_head order by size desc limit 1"""
_SIGNERS = "select verifier_key from log.tree_key"


class SignedHead(msgspec.Struct, frozen=True):
    """The last signed tree head: how many events it covers, and how long ago it was signed."""

    size: int
    age_s: float


async def signed_head(connection: asyncpg.Connection[Any]) -> SignedHead | None:
    """None where nothing is signed yet."""
    row = await connection.fetchrow(_SIGNED)
    return SignedHead(*row) if row else None


async def verifier_keys(connection: asyncpg.Connection[Any]) -> list[str]:
    """Of all that have ever signed the log."""
    return [row["verifier_key"] for row in await connection.fetch(_SIGNERS)]
