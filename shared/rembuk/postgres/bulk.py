"""Statements that change many rows in one round trip: each parameter travels as one array, unnested by PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

_dialect = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Statement:
    """A named change to rows: `sql` takes one array a parameter, in the order of `parameters`."""

    name: str
    sql: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One row's worth of a statement."""

    statement: Statement
    values: tuple[Any, ...]


def change(statement: Statement, **values: Any) -> Change:
    """A change with the statement's parameters by name; a missing or unknown one is an error here and now."""
    try:
        if len(values) == len(statement.parameters):
            return Change(statement, tuple([values[name] for name in statement.parameters]))
    except KeyError:
        pass
    raise TypeError(f"{statement.name} takes {statement.parameters}, got {tuple(values)}")


def _array(column: Column[Any]) -> str:
    return f"{column.type.compile(_dialect)}[]"


def _unnest(columns: Sequence[Column[Any]]) -> str:
    arrays = ", ".join(f"${n}::{_array(column)}" for n, column in enumerate(columns, 1))
    return f"unnest({arrays}) as new ({', '.join(column.name for column in columns)})"


def insert_into(table: Table, *names: str) -> Statement:
    """Adds rows; a row that is there already stays as it is."""
    columns = [table.c[name] for name in names]
    return Statement(
        f"insert_into_{table.name}",
        f"insert into {table.name} ({', '.join(names)}) select * from {_unnest(columns)} on conflict do nothing",
        names,
    )


def update(table: Table, *names: str, key: str = "id", where: str = "true") -> Statement:
    """Sets the named columns of the row with that key; `where` may narrow it by plain SQL over the row."""
    columns = [table.c[name] for name in (key, *names)]
    sets = ", ".join(f"{name} = new.{name}" for name in names)
    return Statement(
        f"update_{table.name}_{'_'.join(names)}",
        f"update {table.name} set {sets} from {_unnest(columns)} where {table.name}.{key} = new.{key} and {where}",
        (key, *names),
    )


def add_to(table: Table, *names: str, key: str = "id") -> Statement:
    """Adds numbers to the named columns of the row with that key, many for one row included."""
    columns = [table.c[name] for name in (key, *names)]
    sums = ", ".join(f"sum({name}) as {name}" for name in names)
    sets = ", ".join(f"{name} = {table.name}.{name} + new.{name}" for name in names)
    return Statement(
        f"add_to_{table.name}_{'_'.join(names)}",
        f"update {table.name} set {sets} from (select {key}, {sums} from {_unnest(columns)} group by {key}) as new "
        f"where {table.name}.{key} = new.{key}",
        (key, *names),
    )


def grouped(changes: Iterable[tuple[Any, Sequence[Change]]]) -> list[tuple[Statement, list[tuple[Any, ...]]]]:
    """Changes by aggregate, put into few groups of one statement each.

    Takes (aggregate, its changes) in the order of events. Within an aggregate the order is kept: its n-th change
    stands in an earlier group than its n+1-th. Across aggregates equal statements are brought together, which is
    why a row may be written by one aggregate only (or with `add_to`).
    """
    depth: dict[Any, int] = {}
    waves: list[dict[Statement, list[tuple[Any, ...]]]] = []
    for aggregate, its_changes in changes:
        for one in its_changes:
            wave = depth.get(aggregate, 0)
            depth[aggregate] = wave + 1
            if wave == len(waves):
                waves.append({})
            waves[wave].setdefault(one.statement, []).append(one.values)
    return [group for wave in waves for group in wave.items()]


async def execute(
    connection: asyncpg.Connection[Any], groups: Iterable[tuple[Statement, list[tuple[Any, ...]]]]
) -> None:
    """Run each group as one statement."""
    for statement, rows in groups:
        await connection.execute(statement.sql, *map(list, zip(*rows, strict=True)))
