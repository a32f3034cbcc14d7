"""The SQL of what a read model shows of a table: one row by its id, and lists of them, newest first. A page is a walk
along one index, or a merge of few, in the order of the page: it costs what it shows, however many rows there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

MOST = 201
"""Rows of a page, and one more: said as a number, so that PostgreSQL knows how few are wanted when it plans."""


@dataclass(frozen=True)
class ListedRows:
    """Rows of `table` as `columns`, the last of which puts a list in order; `joined` adds to them what other tables
    have. `{0}` in both stands for the schema: "", or with a dot behind it."""

    table: str
    columns: str
    order: str = "position"
    joined: str = ""


@cache
def one(shown: ListedRows) -> str:
    """The row whose id is $1."""
    return f"select {shown.columns} from {{0}}{shown.table} as {shown.table} {shown.joined} where {shown.table}.id = $1"


@cache
def page(shown: ListedRows, equal: Sequence[str], walks: Sequence[str]) -> str:
    """At most $1 rows, the last first, before $2 in their order; what is named in `equal` equals the parameters from $3
    on. Of the conditions `walks` a row fulfils one: each is a range of an index in the order of the page."""
    newest = f"order by {shown.order} desc limit"
    rare = [f"{key} between $3 and $3" for key in equal[:1]]  # or PostgreSQL may expect most rows to equal $3
    where = " and ".join([f"{shown.order} < $2::bigint", *(f"{key} = ${n}" for n, key in enumerate(equal, 3)), *rare])
    each = [f"(select * from {{0}}{shown.table} where {where} and {walk} {newest} {MOST})" for walk in walks]
    merged = f"select * from ({' union all '.join(each)}) as found {newest} {MOST}"
    return f"""
        select {shown.columns} from (select * from ({merged}) as wanted {newest} $1) as {shown.table} {shown.joined}
        order by {shown.table}.{shown.order} desc"""


def each_of(column: str, values: Sequence[str]) -> tuple[str, ...]:
    """The walks of an index in which the rows of one value lie together."""
    return tuple(f"{column} = '{value}'" for value in values)


ALL = ("true",)
"""The walk of an index in which all rows are in order."""
