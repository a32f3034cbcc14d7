"""Who cosigns our tree heads and how well, and whose heads we have cosigned.

It imports little, for `rembuk status` starts with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import asyncpg

_WITNESSES = """select verifier_key as name, size, extract(epoch from clock_timestamp() - cosigned_at)::float8 as age_s,
                       coalesce(extract(epoch from clock_timestamp() - failing_since), 0)::float8 as failing_s, failure
                from witness order by name"""
_COSIGNED = "select origin, size, root from witnessed where size > 0"
COSIGNED = "select origin, size, cosigned_at from witnessed"
"""The head of each log that we cosigned last, and when: for a reader with an engine of its own."""


class WitnessRecord(msgspec.Struct, frozen=True):
    """Who is asked to cosign, by verifier key: the size of the tree head cosigned last, how long ago (None: never);
    for how long, and why, it has not answered as it should."""

    name: str
    size: int
    age_s: float | None
    failing_s: float
    failure: str


class CosignedRoot(msgspec.Struct, frozen=True):
    """The tree head of a log that we cosigned last."""

    size: int
    root: bytes


async def witnesses(connection: asyncpg.Connection[Any]) -> list[WitnessRecord]:
    """All that are asked, by verifier key."""
    return [WitnessRecord(*row) for row in await connection.fetch(_WITNESSES)]


async def cosigned_roots(connection: asyncpg.Connection[Any]) -> dict[str, CosignedRoot]:
    """What we have cosigned, by the origin of its log."""
    return {row["origin"]: CosignedRoot(row["size"], row["root"]) for row in await connection.fetch(_COSIGNED)}
