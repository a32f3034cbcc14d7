"""Whose keys are missing though nobody erased them: counted at once, found in the log, noted by a restore that adds
what is sealed without them."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from rembuk.events.codec import Codec
from rembuk.events.texts import sealed_fields
from rembuk.log.standing import last_position

_STILL = """not exists (select from vault_key where vault_key.person = {0}.person)
            and not exists (select from log.event
                            where type || '' = 'PersonErased' and data ->> 'person' = {0}.person::text)"""
COUNT = f"select count(*) from key_missing as noted where {_STILL.format('noted')}"  # noqa: S608 - our own words
"""How many they are, whatever else the vault holds: it costs what is noted."""

PAGE = 100_000
"""So many events are looked into by one statement."""
_NOTE = """insert into key_missing
           select person from sealed_in_log($1, $2, $3, $4) as sealed
           where not exists (select from vault_key where vault_key.person = sealed.person)
           on conflict do nothing"""
_FIND = f"""select person, area, position from sealed_in_log($1, $2, $3, $4) as sealed
            where {_STILL.format("sealed")}"""  # noqa: S608
_ADD = "insert into key_missing select unnest($1::uuid[]) on conflict do nothing"


class Missing(NamedTuple):
    """An opaque person without a key; area and position of the first event in which something is sealed under it."""

    person: UUID
    area: str
    position: int


async def count(connection: asyncpg.Connection[Any]) -> int:
    """How many they are, as far as it was noted."""
    return int(await connection.fetchval(COUNT))


async def note(connection: asyncpg.Connection[Any], codec: Codec, after: int) -> None:
    """Note whose keys did not come with the events after a position; a database of an older release, which knows of no
    notes yet, has them made when it is brought to this one."""
    if await connection.fetchval("select to_regclass('public.key_missing')"):
        for first, last in await _pages(connection, after):
            await connection.execute(_NOTE, *_declared(codec), first, last)


async def find(connection: asyncpg.Connection[Any], codec: Codec) -> list[Missing]:
    """Everybody whose key is missing, by the log itself; what was noted until now is put right by it."""
    noted = {row["person"] for row in await connection.fetch("select person from key_missing")}
    found: dict[UUID, Missing] = {}
    for first, last in await _pages(connection, 0):
        for row in await connection.fetch(_FIND, *_declared(codec), first, last):
            found.setdefault(row["person"], Missing(*row))
    await connection.execute("delete from key_missing where person = any($1)", list(noted - found.keys()))
    await connection.execute(_ADD, list(found))
    return sorted(found.values(), key=lambda one: one.position)


async def _pages(connection: asyncpg.Connection[Any], after: int) -> list[tuple[int, int]]:
    """What is after a position in the log, in pieces for a statement each: the position before the first, the last."""
    head = await last_position(connection)
    return [(first, min(first + PAGE, head)) for first in range(after, head, PAGE)]


async def still(connection: asyncpg.Connection[Any], persons: list[UUID]) -> set[UUID]:
    """Those of some persons whose key has not come back meanwhile."""
    there = await connection.fetch("select person from vault_key where person = any($1)", persons)
    return set(persons) - {row["person"] for row in there}


def _declared(codec: Codec) -> tuple[list[str], list[str]]:
    """Types and fields, side by side."""
    pairs = [(name, field) for name, event in codec.types.items() for field in sealed_fields(event)]
    return [name for name, _ in pairs], [field for _, field in pairs]
