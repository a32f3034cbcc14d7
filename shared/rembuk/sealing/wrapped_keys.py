"""The keys of persons as the vault's table has them, wrapped: counted, brought back, given up; and as a dump has them.

It imports little, for `rembuk status` starts with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import asyncpg

    from rembuk.keys.region_key import WrappedKey

_COUNTS = "select key_id, count(*) as persons from vault_key group by key_id"
_ONE_OF_EACH = "select distinct on (key_id) person, wrapped, key_id from vault_key where key_id = any($1)"
_DESTROY_OTHERS = "delete from vault_key where key_id <> all($1)"
_PUT_BACK = """insert into vault_key (person, wrapped, key_id) select * from unnest($1::uuid[], $2::bytea[], $3::text[])
               on conflict do nothing"""

TABLE = "vault_key"
"""As a dump names it."""
_COPY = f"COPY public.{TABLE} ("


async def persons_by_key(connection: asyncpg.Connection[Any]) -> dict[str, int]:
    """How many persons' keys each region key wraps, by its id."""
    return dict(await connection.fetch(_COUNTS))


async def one_of_each(connection: asyncpg.Connection[Any], key_ids: Sequence[str]) -> list[WrappedKey]:
    """A person's key of each of these region keys, to try one on."""
    from rembuk.keys.region_key import WrappedKey  # with it comes cryptography

    return [WrappedKey(*row) for row in await connection.fetch(_ONE_OF_EACH, key_ids)]


async def destroy_others(connection: asyncpg.Connection[Any], key_ids: Sequence[str]) -> None:
    """Destroy for good what none of these region keys wraps."""
    await connection.execute(_DESTROY_OTHERS, key_ids)


async def put_back(connection: asyncpg.Connection[Any], keys: Sequence[WrappedKey]) -> None:
    """Add what is not there; the database keeps out whoever is erased."""
    await connection.execute(_PUT_BACK, *map(list, zip(*keys, strict=True)))


def in_dump(lines: Iterable[str]) -> Iterator[tuple[UUID, bytes, str]]:
    """Person, wrapped key and the region key's id, from what pg_restore writes of the `TABLE` of a dump. Raises
    ValueError."""
    columns: list[str] = []
    for line in lines:
        if line.startswith(_COPY):
            columns = line.removeprefix(_COPY).split(")")[0].split(", ")
        elif line == "\\.\n":
            columns = []
        elif columns:
            row = dict(zip(columns, line.rstrip("\n").split("\t"), strict=True))
            yield UUID(row["person"]), bytes.fromhex(row["wrapped"].removeprefix("\\\\x")), row["key_id"]
