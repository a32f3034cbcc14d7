"""The SQL of a page of problems: each combination of filters is a walk along one index, or a merge of few, in the order
of the page. A page costs what it shows, however many problems an area has."""

from __future__ import annotations

from functools import cache
from typing import get_args

from rembuk.contracts.disclosure import SHOWN
from rembuk.contracts.status import Between
from rembuk.postgres.area_keys import AREA_KEYS
from rembuk.sealing.opened_texts import EPOCH
from rembuk.web.lists import MOST

from reports import tables

_NEWEST = "order by reported_at desc, position desc"
_SHOWN = f"""
    select p.id::text, p.position, p.version, p.public, p.area, p.category, p.title, p.description,
           exists (select from {{schema}}erased where id = p.texts_of) as erased, p.disclosure,
           {tables.STANDING} as status, p.priority, p.root_cause, p.proposal, p.rejection, p.referred_from,
           p.referred_to, p.reporter_of is null or exists (select from {{schema}}erased where id = p.reporter_of)
           as anonymous, p.reported_at, p.changed_at, p.event_id::text,
           {EPOCH} as epoch
    from ({{rows}}) as p"""


@cache
def one(schema: str) -> str:
    """The problem with the id $1; `schema` is "" or ends in a dot."""
    return _SHOWN.format(schema=schema, rows=f"select * from {schema}problem where id = $1")


@cache
def page(schema: str, area: int, category: bool, status: bool, named: bool) -> str:
    """At most $1 problems, newest first, reported at $2 or later and before the one at ($3, $4); then the parameters of
    the filters: `area` is the length of an area's code, 0 for none, and of the problem that is `named` the position.
    None is found by what is not shown of it: by a category, or an area below a regency, only the public ones are."""
    asked = {"area": area, "category": category, "status": status, "position": named}
    number = {name: f"${n}" for n, name in enumerate([name for name, given in asked.items() if given], 5)}
    table = f"{schema}problem"
    public = category or area > SHOWN
    if named:
        given = [f"{_COLUMNS.get(name) or AREA_KEYS[area]} = {which}" for name, which in number.items()]
        rows = _merged([f"select * from {table} where {' and '.join([_WITHIN, *_only(public), *given])}"])
    elif not number:
        rows = _merged([f"select * from {table} where {_WITHIN}"])
    elif area:
        rows = _merged(_branches(table, f"{AREA_KEYS[area]} = {number['area']}", number, public))
    else:
        of_each = _merged(_branches(table, f"{AREA_KEYS[2]} = province", number, public))
        rows = f"""
            with recursive present (province) as (
                select min({AREA_KEYS[2]}) from {table}
                union all
                select (select min({AREA_KEYS[2]}) from {table} where {AREA_KEYS[2]} > province)
                from present where province is not null)
            select newest.* from present cross join lateral ({of_each}) as newest
            where province is not null {_NEWEST} limit $1"""
    return f"{_SHOWN.format(schema=schema, rows=rows)} {_NEWEST}"


@cache
def reported_at(schema: str) -> str:
    """When the problem at position $1, or the last one before it, was reported."""
    return f"select reported_at from {schema}problem where position <= $1 order by position desc limit 1"


_COLUMNS = {"category": "category", "status": tables.STANDING, "position": "position"}
_WITHIN = "reported_at >= $2 and (reported_at, position) < ($3, $4)"


def _branches(table: str, where: str, number: dict[str, str], public: bool) -> list[str]:
    """A select for each range of an index that has to be walked: one a stage, or the one of the status that is given.
    Of a stage the index itself tells who stands so."""
    where = " and ".join([where, *_only(public)])
    if "category" in number:
        where += f" and category = {number['category']}"
    stages = [f"'{stage}'" for stage in tables.STAGES]
    if asked := number.get("status"):
        where += f" and {tables.STANDING} = {asked}"
        stages = [f"({tables.stage_of(asked, f'{asked} in {get_args(Between)}')})"]
    return [f"select * from {table} where {where} and {tables.STAGE} = {stage} and {_WITHIN}" for stage in stages]


def _only(public: bool) -> list[str]:
    return ["public"] if public else []


def _merged(branches: list[str]) -> str:
    """Each branch has an order and an end of its own, so it walks along the index whatever PostgreSQL estimates."""
    branches = [f"({branch} {_NEWEST} limit {MOST})" for branch in branches]
    merged = f"select * from ({' union all '.join(branches)}) as found {_NEWEST} limit {MOST}"
    return f"select * from ({merged}) as wanted {_NEWEST} limit $1"
