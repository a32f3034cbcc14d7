"""Pages of forums, meetings, commitments and candidates: every combination of filters finds what it should, in order
and without loss, along indexes that a database from before gets when it is upgraded."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from forums import projection
from forums.queries import (
    CANDIDATES,
    COMMITMENTS,
    FORUMS,
    MEETINGS,
    Candidate,
    Commitment,
    CommitmentStatus,
    ForumQueries,
    MeetingStatus,
)
from forums.tables import CANDIDATE
from rembuk.postgres.area_keys import AREA_KEYS
from rembuk.postgres.bulk import Statement
from rembuk.postgres.database import PlainSql
from rembuk.postgres.migrations import upgrade
from rembuk.postgres.provisioning import ServiceDatabase, provision
from rembuk.web.lists import ALL, ListedRows, each_of, page
from rembuk.web.reading import ReadModel

AREAS = ("35.78.08", "35.78.08.1004", "35.78.08.1005", "35.01.01.2001", "33.29.12.2011")
ASKED = (None, "35", "35.78", "35.78.08", "35.78.08.1004", "33", "11")
OF = [UUID(int=number) for number in (1, 2)]
FILL = """
    insert into forum (id, position, version, area, model, name, hall, founded_at, changed_at)
    select md5('f' || i)::uuid, i, 1, ($1::text[])[1 + i * 7 % 5], 'wilayah', 'Forum', '', now(), now()
    from generate_series(1, 90) i;
    insert into meeting (id, position, version, forum_id, area, at, place, status, agenda, attendance, agreements,
                         promises, deferred, scheduled_at, changed_at)
    select md5('m' || i)::uuid, i, 1, ($2::uuid[])[1 + i * 5 % 2], ($1::text[])[1 + i * 7 % 5], now(), '',
           (array['scheduled', 'held'])[1 + i * 11 % 3 / 2], '[]', '[]', '[]', '[]', '[]', now(), now()
    from generate_series(1, 90) i;
    insert into commitment (id, position, version, forum_id, meeting_id, area, who, what, by, status, made_at,
                            changed_at)
    select md5('c' || i)::uuid, i, 1, ($2::uuid[])[1 + i * 5 % 2], md5('m' || i / 3)::uuid, ($1::text[])[1 + i * 7 % 5],
           'government', '', now(), (array['due', 'kept', 'missed'])[1 + i * 11 % 3], now(), now()
    from generate_series(1, 90) i;
    insert into open_problem (id, position, area, category, public, title, status, open, away, reported_at)
    select md5('p' || i)::uuid, i, ($1::text[])[1 + i * 7 % 5], 'theft', i % 2 = 0, '',
           (array['reported', 'verified', 'closed'])[1 + i * 11 % 3], i * 11 % 3 < 2, i % 9 = 0, now()
    from generate_series(1, 90) i"""
Page = Callable[[str | None], Awaitable[Any]]


@pytest.fixture(scope="module")
def database(postgres_url: str) -> ServiceDatabase:
    made = asyncio.run(provision(postgres_url, f"l{uuid4().hex[:8]}", "forums", "test"))
    upgrade("forums", made.owner_url, made.role, "0009")

    async def fill() -> None:
        owner = await asyncpg.connect(made.owner_url)
        for statement in FILL.split(";"):
            arguments = (list(AREAS), OF) if "$2" in statement else (list(AREAS),)
            await owner.execute(statement, *arguments)
        await owner.close()

    asyncio.run(fill())
    upgrade("forums", made.owner_url, made.role)
    return made


@asynccontextmanager
async def asking(database: ServiceDatabase) -> AsyncIterator[tuple[ForumQueries, asyncpg.Connection[Any]]]:
    sql = PlainSql(database.service_url, "test")
    await sql.start()
    model = ReadModel(sql, "projection", "X_FORUMS")
    connection = await asyncpg.connect(database.service_url)
    try:
        yield ForumQueries(model, model), connection
    finally:
        await connection.close()
        await sql.stop()


async def test_every_list_finds_what_it_should_page_by_page(database: ServiceDatabase) -> None:
    async with asking(database) as (queries, connection):
        rows = {
            table: await connection.fetch(f"select * from {table} order by position desc")
            for table in ("forum", "meeting", "commitment", "open_problem")
        }
        for area in ASKED:
            page: Page = lambda cursor: queries.forums(area, cursor, 7)  # noqa: B023, E731 - asked at once
            assert await through(page) == matching(rows["forum"], area)
        for area, status, of in itertools.product(ASKED, (None, *get_args(MeetingStatus)), (None, *OF)):
            page = lambda cursor: queries.meetings(area, everywhere, status, of, cursor, 7)  # noqa: B023, E731
            assert await through(page) == matching(rows["meeting"], area, status=status, forum_id=of)
        for area, status, of in itertools.product(ASKED, (None, *get_args(CommitmentStatus)), (None, *OF)):
            page = lambda cursor: queries.commitments(area, status, of, None, cursor, 7)  # noqa: B023, E731
            assert await through(page) == matching(rows["commitment"], area, status=status, forum_id=of)
        for area, all_of in itertools.product(filter(None, ASKED), (True, False)):
            page = lambda cursor: queries.candidates(area, lambda _: all_of, cursor, 7)  # noqa: B023, E731
            expected = matching(rows["open_problem"], area, open=True, away=False, public=None if all_of else True)
            reported = {row["id"] for row in rows["open_problem"] if row["status"] == "reported"}
            assert await through(page) == [one for one in expected if one not in reported]


MANY = """
    insert into commitment (id, position, version, forum_id, meeting_id, area, who, what, by, status, made_at,
                            changed_at)
    select md5('many' || i)::uuid, 1000 + i, 1, md5('f' || i % 50)::uuid, md5('m' || i)::uuid, '35.78.08.1004',
           'government', '', now(), case when i % 100 = 0 then 'due' else 'kept' end, now(), now()
    from generate_series(1, 20000) i"""


async def test_a_list_of_an_area_walks_along_the_index_of_its_level(database: ServiceDatabase) -> None:
    """Also of a province that has nothing where all is in another: PostgreSQL plans once, for any."""
    connection = await asyncpg.connect(database.owner_url)
    change = connection.transaction()
    await change.start()
    try:
        await connection.execute(MANY)
        await connection.execute("""analyze commitment; set local enable_bitmapscan = off;
                                    set local plan_cache_mode = force_generic_plan""")
        for key, level in zip(AREA_KEYS.values(), ("province", "regency", "district", "village"), strict=True):
            for equal, walks in (((key,), each_of("status", get_args(CommitmentStatus))), ((key, "status"), ALL)):
                assert await used(connection, COMMITMENTS, equal, walks) == {f"commitment_{level}"}
        for shown, equal, index in (
            (FORUMS, (), "forum_position_key"),
            (MEETINGS, ("status",), "meeting_status"),
            (COMMITMENTS, ("meeting_id",), "commitment_meeting"),
        ):
            await connection.execute("set local enable_seqscan = off")
            assert index in await used(connection, shown, equal, ALL)
        candidates = await used(connection, CANDIDATES, (AREA_KEYS[5],), (CANDIDATE,))
        assert candidates == {"open_problem_regency"}
    finally:
        await change.rollback()
        await connection.close()


@pytest.mark.parametrize(("shown", "kind"), [(COMMITMENTS, Commitment), (CANDIDATES, Candidate)])
def test_the_first_columns_are_the_fields_in_their_order(shown: ListedRows, kind: type[msgspec.Struct]) -> None:
    assert tuple(shown.columns.split(", ")) == (*kind.__struct_fields__, "position")


async def used(
    connection: asyncpg.Connection[Any], shown: ListedRows, equal: Sequence[str], walks: Sequence[str]
) -> set[str]:
    await connection.execute("prepare asked as " + page(shown, equal, walks).format(""))
    plan = await connection.fetch(f"explain execute asked ({', '.join(['null'] * (2 + len(equal)))})")
    await connection.execute("deallocate asked")
    return set(re.findall(r"Index Scan (?:Backward )?using (\w+)", "\n".join(line[0] for line in plan)))


async def test_what_is_only_reported_is_in_no_index_of_candidates(database: ServiceDatabase) -> None:
    """Hence it is written once, and what befalls it before it is verified moves no entry of any index."""
    connection = await asyncpg.connect(database.owner_url)
    change = connection.transaction()
    await change.start()
    try:
        await connection.execute("delete from open_problem")
        row: dict[str, Any] = {
            "id": OF[0], "position": 1, "area": AREAS[1], "category": "theft", "public": True, "title": "",
            "status": "reported", "open": True, "away": False, "priority": None, "root_cause": None,
            "reported_at": datetime(2026, 1, 1, tzinfo=UTC),
        }  # fmt: skip
        beside = "select n_tup_hot_upd from pg_stat_xact_user_tables where relname = 'open_problem'"
        await run(connection, projection.ADD_PROBLEM, row)
        kept = []
        for statement, changed in (
            (projection.PROBLEM_PRIORITY, {"priority": "high"}),
            (projection.PROBLEM_CAUSE, {"root_cause": "Gelap"}),
            (projection.PROBLEM_STATUS, {"status": "verified"}),
            (projection.PROBLEM_PRIORITY, {"priority": "low"}),
        ):
            before = await connection.fetchval(beside)
            await run(connection, statement, row := row | changed)
            kept.append(await connection.fetchval(beside) - before)
        assert kept == [1, 1, 0, 1]
    finally:
        await change.rollback()
        await connection.close()


async def run(connection: asyncpg.Connection[Any], statement: Statement, row: dict[str, Any]) -> None:
    await connection.execute(statement.sql, *([row[name]] for name in statement.parameters))


def everywhere(_: str) -> bool:
    return True


def matching(rows: Sequence[asyncpg.Record], area: str | None, **equal: Any) -> list[UUID]:
    return [
        row["id"]
        for row in rows
        if (area is None or f"{row['area']}.".startswith(f"{area}."))
        and all(value in (None, row[name]) for name, value in equal.items())
    ]


async def through(page: Page) -> list[UUID]:
    found, cursor = list[UUID](), None
    while True:
        got = await page(cursor)
        found += [one.id for one in got.items]
        if (cursor := got.next_cursor) is None:
            return found
