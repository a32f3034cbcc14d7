"""A read model beside the live one: its tables copied empty into a schema of their own, with checkpoints and a
quarantine of their own; compared with the live rows, and put in their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import Table

from rembuk.operations.steps import Compared, RowDifference

KEPT = {"kept": True}
"""The `info` of a column that no event determines: a rebuilt row takes its value over from the live one."""
SHOWN = 100
"""Rows of one table that are told of; the rest are counted."""
LOCK_MS = 500
"""How long the swap lets others wait behind it while it waits itself; then it steps back and tries again."""
LOCK_TRIES = 60
PATIENCE_S = 60
"""How long the swap waits where nobody waits behind it: at first, for whoever vacuums a table. PostgreSQL ends an
automatic vacuum that has kept somebody waiting for a second (deadlock_timeout), and no earlier."""

_NEWLY_ASIDE = """select stream, position, error, count(*) over () as events from quarantine as new
                  where not exists (select from public.quarantine as old where (old.follower, old.stream, old.position)
                                    = (new.follower, new.stream, new.position))
                  order by stream, position limit 1"""
_BESIDE = ("checkpoint", "quarantine")
_STRUCTURE = """
    select format('create %3$s table %1$I.%2$I (like public.%2$I including all excluding indexes)', $1::text, name,
                  case when $3 then 'unlogged' else '' end)
        from unnest($2::text[]) as name
    union all
    select format('alter table %I.%I add constraint %I %s', $1, relname, conname, pg_get_constraintdef(c.oid))
        from pg_constraint c join pg_class on conrelid = pg_class.oid
        where relnamespace = 'public'::regnamespace and relname = any($2) and contype in ('p', 'u')
    union all
    select format('alter table %I.%I set (%s)', $1, relname, array_to_string(reloptions, ', '))
        from pg_class where relnamespace = 'public'::regnamespace and relname = any($2) and reloptions is not null
    union all
    select pg_get_indexdef(indexrelid, 0, true)
        from pg_index join pg_class on indrelid = pg_class.oid
        where relnamespace = 'public'::regnamespace and relname = any($2)
          and not exists (select from pg_constraint where conindid = indexrelid) and indisunique"""
"""What makes copies of tables, by the same names in another schema; what no schema is named in goes to the first of
the search path, where the copies are by then, although the definitions are read while it does not show them yet. $3:
only to be compared, hence without what makes them lasting."""
_INDEXES = """select regexp_replace(pg_get_indexdef(indexrelid, 0, true), '^CREATE INDEX', 'CREATE INDEX IF NOT EXISTS')
              from pg_index join pg_class on indrelid = pg_class.oid
              where relnamespace = 'public'::regnamespace and relname = any($1) and not indisunique"""
_TRIGGERS = """select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class on tgrelid = pg_class.oid
               where relnamespace = 'public'::regnamespace and relname = any($1) and not tgisinternal"""
_LIVE = "select position from public.checkpoint where follower = $1 and stream = $2"
_SIDE = "select position from checkpoint where follower = $1 and stream = $2"


class SideModel:
    """The tables of a service copied into `schema`, on the owner's connection, whose search path begins there."""

    def __init__(
        self, connection: asyncpg.Connection[Any], schema: str, tables: Sequence[Table], role: str, passing: bool
    ) -> None:
        """`passing`: it is made to be compared only, and never gone on with."""
        self._connection, self.schema, self._tables, self._role = connection, schema, tables, role
        self._passing = passing

    async def open(self, note: str, followers: Sequence[tuple[str, str]]) -> bool:
        """Go on with what is there if it was made under the same `note`, else make it anew, each of `followers`
        (name, stream) at position 0; whether something was there to go on with."""
        connection = self._connection
        await connection.execute(f"set search_path = {self.schema}, public")
        described = "select obj_description(to_regnamespace($1), 'pg_namespace')"
        if not self._passing and await connection.fetchval(described, self.schema) == note:
            return True
        async with connection.transaction():
            await self.drop()
            await connection.execute(f"create schema {self.schema}")
            names = [table.name for table in self._tables]
            for line in await connection.fetch(_STRUCTURE, self.schema, [*names, *_BESIDE], self._passing):
                await connection.execute(line[0])
            await connection.executemany("insert into checkpoint (follower, stream) values ($1, $2)", followers)
            for name in names:
                await connection.execute(
                    f'grant select, insert, update, delete on {self.schema}.{name} to "{self._role}"'
                )
            await connection.execute(f'grant select on {self.schema}.checkpoint to "{self._role}"')
            await connection.execute(f'grant usage on schema {self.schema} to "{self._role}"')
            literal = await connection.fetchval("select quote_literal($1)", note)
            await connection.execute(f"comment on schema {self.schema} is {literal}")
        return False

    async def drop(self) -> None:
        """Forget it, if there is one."""
        await self._connection.execute(f"drop schema if exists {self.schema} cascade")

    async def rename(self, schema: str) -> None:
        """Give it another name, in the place of whatever bears it."""
        async with self._connection.transaction():
            await self._connection.execute(f"drop schema if exists {schema} cascade")
            await self._connection.execute(f"alter schema {self.schema} rename to {schema}")
        self.schema = schema

    async def positions(self, follower: str, stream: str) -> tuple[int, int]:
        """Where the side model and the live one stand."""
        fetch = self._connection.fetchval
        return int(await fetch(_SIDE, follower, stream)), int(await fetch(_LIVE, follower, stream) or 0)

    async def newly_aside(self) -> asyncpg.Record | None:
        """The first event that the live model has and this one set aside, with its traceback, and how many are so."""
        return await self._connection.fetchrow(_NEWLY_ASIDE)

    async def take_over(self) -> None:
        """Take what no event determines from the live rows."""
        for table in self._tables:
            if kept := [column.name for column in table.columns if column.info == KEPT]:
                sets = ", ".join(f"{name} = live.{name}" for name in kept)
                differ = " or ".join(f"new.{name} <> live.{name}" for name in kept)
                await self._connection.execute(
                    f"update {self.schema}.{table.name} as new set {sets} from public.{table.name} as live "
                    f"where {_same_key(table)} and ({differ})"
                )

    async def compare(self) -> AsyncIterator[Compared | RowDifference]:
        """Each table, and the first rows that differ; within a transaction that sees both models at one position."""
        for table in self._tables:
            both = f"public.{table.name} as live full join {self.schema}.{table.name} as new on {_same_key(table)}"
            differ = "live::record is distinct from new::record"
            counts = await self._connection.fetchrow(
                f"select count(new), count(*) filter (where new is null), count(*) filter (where live is null), "
                f"count(*) filter (where not (live is null or new is null) and {differ}) from {both}"
            )
            assert counts is not None
            yield (compared := Compared(str(table.name), *counts))
            if compared.differences:
                rows = f"select to_json(live), to_json(new) from {both} where {differ} limit {SHOWN}"
                for live, new in await self._connection.fetch(rows):
                    yield RowDifference(str(table.name), _raw(live), _raw(new))

    async def lock_live(self) -> None:
        """Have nobody read or write the live rows, or vacuum either model, until the transaction ends; nobody waits
        long behind us for that. Raises LockNotAvailableError where it never succeeds."""
        names = ", ".join(f"public.{table.name}" for table in self._tables)
        both = ", ".join(f"{schema}.{table.name}" for schema in ("public", self.schema) for table in self._tables)
        await self._connection.execute(f"set local lock_timeout = '{PATIENCE_S}s'")
        await self._connection.execute(f"lock table {both} in share update exclusive mode")
        for attempt in range(1, LOCK_TRIES + 1):
            try:
                async with self._connection.transaction():
                    await self._connection.execute(f"set local lock_timeout = {LOCK_MS}")
                    await self._connection.execute(f"lock table {names} in access exclusive mode")
                    await self._connection.execute("select from public.checkpoint for update")
            except asyncpg.LockNotAvailableError:
                if attempt == LOCK_TRIES:
                    raise
                await asyncio.sleep(0.2)
            else:
                break
        await self._connection.execute(f"set local lock_timeout = '{PATIENCE_S}s'")

    async def swap(self, followers: Sequence[tuple[str, str]]) -> None:
        """Put the new tables, and what `followers` could not take of it, in the place of the live ones."""
        connection, names = self._connection, [table.name for table in self._tables]
        triggers = await connection.fetch(_TRIGGERS, names)
        for name in names:
            await connection.execute(f"drop table public.{name}; alter table {self.schema}.{name} set schema public")
        for trigger in triggers:
            await connection.execute(trigger[0])
        of = "(follower, stream) in (select * from unnest($1::text[], $2::text[]))"
        columns = list(map(list, zip(*followers, strict=True)))
        await connection.execute(
            f"delete from public.quarantine as old where {of} and not exists (select from quarantine as new "
            "where (new.follower, new.stream, new.position) = (old.follower, old.stream, old.position))",
            *columns,
        )
        await connection.execute("insert into public.quarantine select * from quarantine on conflict do nothing")
        await self.drop()

    async def make_searchable(self) -> None:
        """Give the full tables the indexes that queries search by, which cost more than all else while rows come one
        by one, and have PostgreSQL know how their values are spread. What is there already stays."""
        connection, names = self._connection, [table.name for table in self._tables]
        async with connection.transaction():
            await connection.execute("set local search_path = public")  # where the definitions name no schema
            lines = await connection.fetch(_INDEXES, names)
        for line in lines:
            await connection.execute(line[0])
        for table in self._tables:
            await self._connection.execute(f"analyze {self.schema}.{table.name}")


def _same_key(table: Table) -> str:
    return " and ".join(f"live.{column.name} = new.{column.name}" for column in table.primary_key.columns)


def _raw(row: str | None) -> msgspec.Raw:
    return msgspec.Raw((row or "null").encode())
