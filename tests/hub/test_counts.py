"""How many problems there are, as rows keep it: what a recount of the problems comes to, whatever happened to them in
which order, and no slower with more of them; and the list of problems, which asks those rows where there are any."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
from hub import counting, keeping, listing
from hub.counting import ProblemsBy
from hub.queries import Problem
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rembuk.contracts.reports import (
    ProblemClosed,
    ProblemHandedOver,
    ProblemReferred,
    ProblemRejected,
    ProblemReported,
    ProblemVerified,
    ReferralAccepted,
    ReferralDeclined,
    ReferralOffered,
    ReferralReturned,
    ReferralWithdrawn,
)
from rembuk.contracts.status import OPEN, Status
from rembuk.events.event import Event

from tests.hub import conftest

REGIONS, CATEGORIES = ("jatim", "jabar"), ("theft", "street_lighting")
AREAS = ("35", "35.78", "35.78.08", "35.78.08.1004", "35.78.08.1005", "35.73.01.1001", "32.73")
PROBLEMS = [uuid4() for _ in range(4)]
BEGIN, END = datetime(2026, 1, 30, 22, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def happens(region: str, area: str, category: str, disclosure: str) -> st.SearchStrategy[Event]:
    other = REGIONS[1 - REGIONS.index(region)]
    return st.sampled_from([
        ProblemReported(area, category, "Motor hilang", "sealed:v1:x", disclosure),
        ProblemVerified(), ProblemRejected("duplicate", ""), ProblemClosed(),
        ProblemReferred(region, other, area, category, "public", BEGIN, "hpke:v1:x"),
        ReferralOffered(other, area, category, "Motor hilang", "", disclosure, BEGIN, to=region),
        ReferralAccepted(other, region), ReferralDeclined(other, region, "no_capacity"),
        ReferralReturned(other, "no_capacity"), ReferralWithdrawn(region, other), ProblemHandedOver(other),
    ])  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[str, list[tuple[UUID, int, Event]]]]:
    """Of one region each: a problem, how many hours later, and what happens to it."""
    made = []
    for _ in range(draw(st.integers(1, 5))):
        region = draw(st.sampled_from(REGIONS))
        events = []
        for _ in range(draw(st.integers(1, 6))):
            words = map(st.sampled_from, (AREAS, CATEGORIES, ("public", "commander")))
            event = draw(happens(region, *map(draw, words)))
            events.append((draw(st.sampled_from(PROBLEMS)), draw(st.integers(0, 1500)), event))
        made.append((region, events))
    return made


OFFER = ReferralOffered("jatim", AREAS[3], "theft", "Motor hilang", "", "public", BEGIN, to="jabar")
KEPT = "select * from problem_count order by level, month, area, region, category, moved"
MONTHS, DAYS = (importlib.import_module(f"hub.migrations.versions.{name}") for name in ("0006_months", "0008_days"))
"""They count what is there, and find what has moved, from the problems alone."""
MOVED: list[tuple[str, list[tuple[UUID, int, Event]]]] = [
    ("jatim", [(PROBLEMS[0], 0, ProblemReported(AREAS[3], "theft", "Motor hilang", "sealed:v1:x", "public"))]),
    ("jatim", [(PROBLEMS[0], 1, ProblemReferred("jatim", "jabar", AREAS[3], "theft", "public", BEGIN, "hpke:v1:x"))]),
    ("jabar", [(PROBLEMS[0], 2, OFFER), (PROBLEMS[0], 3, ReferralAccepted("jatim", "jabar"))]),
]
"""Accepted, and its origin has not heard of it."""


async def project(database: asyncpg.Connection[Any], region: str, events: list[tuple[UUID, int, Event]]) -> None:
    happened = [(problem, BEGIN + timedelta(hours=hours), event) for problem, hours, event in events]
    await conftest.project(database, region, "reports", happened)


@dataclass(frozen=True)
class Asked:
    """What problems are asked for."""

    area: str | None = None
    status: Status | None = None
    region: str | None = None
    category: str | None = None
    since: datetime | None = None

    @property
    def filters(self) -> list[str]:
        return [one for one in (self.area, self.region, self.category) if one is not None]

    async def counted(self, database: asyncpg.Connection[Any], by: ProblemsBy) -> list[tuple[str, int, int]]:
        given = (self.status, self.region is not None, self.category is not None, self.since is not None)
        sql = counting.counts(by, len(self.area or ""), *given)
        begins = keeping.since(self.since, counting.by_day(by, len(self.area or ""))) if self.since else ()
        return [(row[0], row[1], row[2]) for row in await database.fetch(sql, *self.filters, *begins)]

    async def problems(self, database: asyncpg.Connection[Any]) -> list[asyncpg.Record]:
        """One by one, the newest first, each where it lives unless a status is asked for that it has elsewhere."""
        home = "referral is null or referral = 'referred'" if self.status is None else "true"
        rows = await database.fetch(f"""
            select *, coalesce(referral, status) as stands from problem
            where ({home})
              and not exists (select from moved where (moved.id, moved.region) = (problem.id, problem.region))
            order by reported_at desc, region desc, id desc""")
        return [
            row for row in rows
            if row["area"].startswith(self.area or "") and (self.since is None or row["reported_at"] >= self.since)
            and all(asked in (None, row[name]) for name, asked in
                    (("stands", self.status), ("region", self.region), ("category", self.category)))
        ]  # fmt: skip

    async def recounted(self, database: asyncpg.Connection[Any], by: ProblemsBy) -> list[tuple[str, int, int]]:
        found: dict[str, tuple[int, int]] = {}
        below = {0: 2, 2: 5, 5: 8, 8: 13, 13: 13}[len(self.area or "")]
        for row in await self.problems(database):
            keys = {"month": f"{row['reported_at']:%Y-%m}", "area": row["area"][:below], "status": row["stands"]}
            key = keys.get(by) or row[by]
            problems, are_open = found.get(key, (0, 0))
            found[key] = problems + 1, are_open + (row["stands"] in (*OPEN, "referred"))
        return [(key, *numbers) for key, numbers in sorted(found.items())]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    happened=batches(),
    area=st.sampled_from([None, "35", "35.78", "35.78.08", "35.78.08.1004"]),
    since=st.sampled_from([None, *(BEGIN + timedelta(hours=hours) for hours in (0, 2, 14, 20, 240, 480, 493)), END]),
    status=st.sampled_from([None, *get_args(Status)]),
    region=st.sampled_from([None, *REGIONS]),
    category=st.sampled_from([None, *CATEGORIES]),
)
@example(happened=MOVED, area=None, since=END, status=None, region=None, category=None)
@example(happened=MOVED, area="35", since=BEGIN, status=None, region=None, category=None)
@example(happened=MOVED, area="35.78", since=None, status="referred", region="jatim", category="theft")
async def test_what_is_kept_equals_a_recount(
    database: asyncpg.Connection[Any],
    happened: list[tuple[str, list[tuple[UUID, int, Event]]]],
    area: str | None, since: datetime | None, status: Any, region: str | None, category: str | None,
) -> None:  # fmt: skip
    transaction = database.transaction()
    await transaction.start()
    try:
        for of, events in happened:
            await project(database, of, events)
        told = Asked(area, status, region, category, since)
        for by, one in product(get_args(ProblemsBy), (told, replace(told, area=None), replace(told, since=None))):
            assert await one.counted(database, by) == await one.recounted(database, by), (by, one)
        await lists_what_there_is(database, 2, told)
        kept_rows, moved = await database.fetch(KEPT), await database.fetch("select * from moved order by id, region")
        await database.execute("delete from problem_count; delete from moved")
        await database.execute(";".join((MONTHS.FIND, *MONTHS.FILL, *DAYS.FILL)))
        assert moved == await database.fetch("select * from moved order by id, region")
        assert kept_rows == await database.fetch(KEPT)
    finally:
        await transaction.rollback()


async def lists_what_there_is(database: asyncpg.Connection[Any], limit: int, asked: Asked) -> None:
    """Page by page, in order and without loss."""
    order = ("reported_at", "region", "id")
    expected = [tuple(row[name] for name in order) for row in await replace(asked, since=None).problems(database)]
    found: list[tuple[Any, ...]] = []
    for page in range(len(expected) // limit + 1):
        given = (asked.status, asked.region is not None, asked.category is not None)
        sql = listing.page(len(asked.area or ""), *given, page > 0)
        rows = await database.fetch(sql, limit, *asked.filters, *(found[-1] if page else ()))
        found += [tuple(row[name] for name in order) for row in rows]
    assert found == expected, asked


MANY = f"""
    insert into problem (region, id, area, category, status, referral, reported_at, changed_at)
    select (array['jatim', 'jabar'])[1 + i % 7 / 6], md5('p' || i)::uuid,
           case when i % 40 = 0 then '32.73' when i % 90 = 1 then '32.73.01.1001'
                else (array{list(AREAS[:5])})[1 + i % 5] end,
           case when i % 11 = 0 then 'withheld' else (array{list(CATEGORIES)})[1 + i % 13 / 9] end,
           case when i % 17 = 0 then 'verified' else 'closed' end,
           case when i % 29 = 0 then 'referred' when i % 31 = 0 then 'handed_over' end,
           timestamptz '2026-01-01Z' + i / 3 * interval '1 hour', now()
    from generate_series(1, 600) i;
    insert into problem (region, id, area, category, status, reported_at, changed_at)
    select 'jabar', id, area, category, 'reported', reported_at, now() from problem
    where referral = 'referred' and region = 'jatim'"""


async def test_every_combination_of_filters_lists_what_it_should_along_indexes(
    database: asyncpg.Connection[Any],
) -> None:
    """What a page costs must not grow with what matches; a province is both, dense and sparse among all."""
    transaction = database.transaction()
    await transaction.start()
    try:
        for statement in (*MANY.split(";"), MONTHS.FIND, *MONTHS.FILL, *DAYS.FILL, "analyze problem"):
            await database.execute(statement)
        for area, status, region, category in product(
            (None, "35", "35.78", "35.78.08", "35.78.08.1004", "32", "32.73", "11"),
            (None, "closed", "verified", "referred", "handed_over"), (None, "jabar"), (None, "theft"),
        ):  # fmt: skip
            await lists_what_there_is(database, 50, Asked(area, status, region, category))
        await database.execute("set local enable_seqscan = off; set local enable_bitmapscan = off")
        for area, status in product((0, 2, 5, 8, 13), (None, "closed")):
            sql = listing.page(area, status, False, False, False).replace("$1", "50").replace("$2", "'35'")
            plan = "\n".join(line[0] for line in await database.fetch(f"explain {sql}"))
            assert "Seq Scan on problem" not in plan, plan
            assert plan.count("problem_reported") == (area in (0, 2)), plan
            assert plan.count("problem_regency") == (area in (2, 5)), plan
            assert plan.count("problem_place") == (area in (8, 13)), plan
        await database.execute("set local plan_cache_mode = force_generic_plan")
        for area in (0, 2, 5, 8, 13):
            await database.execute(f"prepare asked as {counting.counts('month', area, None, False, False, True)}")
            since = f"'2026-01-01', array[date '2026-01-01'], 1, '{BEGIN}', '{END}', 1"
            told = await database.fetch(f"explain execute asked ({'$$35$$, ' if area else ''}{since})")
            plan = "\n".join(line[0] for line in told)
            await database.execute("deallocate asked")
            assert plan.count("Index Cond: ((level = ") + plan.count("Index Cond: (level = ") >= 2, plan
            assert "Seq Scan on problem" not in plan, plan
            assert "Filter: (category" not in plan, plan
    finally:
        await transaction.rollback()


async def test_the_columns_are_the_fields_of_a_problem_in_their_order(database: asyncpg.Connection[Any]) -> None:
    prepared = await database.prepare(listing.page(0, None, False, False, False))
    assert tuple(column.name for column in prepared.get_attributes()) == Problem.__struct_fields__


async def test_two_projections_that_learn_at_once_of_the_two_ends_of_a_referral_take_it_off_once(
    database: asyncpg.Connection[Any], database_url: str
) -> None:
    """Neither sees what the other has not committed yet: the second to ask waits, and sees both."""
    problem = uuid4()
    reported = ProblemReported(AREAS[3], "theft", "Motor hilang", "sealed:v1:x", "public")
    referred = ProblemReferred("jatim", "jabar", AREAS[3], "theft", "public", BEGIN, "hpke:v1:x")
    await project(database, "jatim", [(problem, 0, reported)])
    await project(database, "jabar", [(problem, 0, OFFER)])
    other = await asyncpg.connect(database_url)
    try:
        first = database.transaction()
        await first.start()
        await project(database, "jatim", [(problem, 1, referred)])
        second = asyncio.create_task(accepted(other, problem))
        while not await other_waits(database):
            assert not second.done()
        await first.commit()
        await second
        for by in get_args(ProblemsBy):
            told = await Asked().counted(database, by)
            assert [number for _, number, _ in told] == [1], (by, told)
        assert await Asked().counted(database, "region") == [("jabar", 1, 1)]
    finally:
        await other.close()
        for table in ("problem", "problem_count", "moved"):
            await database.execute(f"delete from {table}")


async def accepted(database: asyncpg.Connection[Any], problem: UUID) -> None:
    async with database.transaction():
        await project(database, "jabar", [(problem, 1, ReferralAccepted("jatim", "jabar"))])


async def other_waits(database: asyncpg.Connection[Any]) -> bool:
    waiting: int = await database.fetchval("select count(*) from pg_locks where locktype = 'advisory' and not granted")
    return waiting > 0
