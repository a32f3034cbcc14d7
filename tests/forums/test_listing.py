"""Pages of forums, meetings, commitments and candidates: every combination of filters finds what it should, in order
and without loss, along indexes that a database from before gets when it is upgraded."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
import pytest
from forums.queries import CommitmentStatus, ForumQueries, MeetingStatus
from rembuk import read_engine
from rembuk.migrations import upgrade
from rembuk.provisioning import ServiceDatabase, provision
from rembuk.web.reading import ReadModel

AREAS = ("35.78.08", "35.78.08.1004", "35.78.08.1005", "35.01.01.2001", "33.29.12.2011")
ASKED = (None, "35", "35.78", "35.78.08", "35.78.08.1004", "33", "11")
FORUMS = [UUID(int=number) for number in (1, 2)]
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
            arguments = (list(AREAS), FORUMS) if "$2" in statement else (list(AREAS),)
            await owner.execute(statement, *arguments)
        await owner.close()

    asyncio.run(fill())
    upgrade("forums", made.owner_url, made.role)
    return made


@asynccontextmanager
async def asking(database: ServiceDatabase) -> AsyncIterator[tuple[ForumQueries, asyncpg.Connection[Any]]]:
    engine = read_engine.engine(database.service_url, "test")
    model = ReadModel(engine, "projection", "X_FORUMS")
    connection = await asyncpg.connect(database.service_url)
    try:
        yield ForumQueries(model, model), connection
    finally:
        await connection.close()
        await read_engine.close_engine(engine)


async def test_every_list_finds_what_it_should_page_by_page(database: ServiceDatabase) -> None:
    async with asking(database) as (queries, connection):
        rows = {
            table: await connection.fetch(f"select * from {table} order by position desc")
            for table in ("forum", "meeting", "commitment", "open_problem")
        }
        for area in ASKED:
            page: Page = lambda cursor: queries.forums(area, cursor, 7)  # noqa: B023, E731 - asked at once
            assert await through(page) == matching(rows["forum"], area)
        for area, status, of in itertools.product(ASKED, (None, *get_args(MeetingStatus)), (None, *FORUMS)):
            page = lambda cursor: queries.meetings(area, everywhere, status, cursor, 7, forum_id=of)  # noqa: B023, E731
            assert await through(page) == matching(rows["meeting"], area, status=status, forum_id=of)
        for area, status, of in itertools.product(ASKED, (None, *get_args(CommitmentStatus)), (None, *FORUMS)):
            page = lambda cursor: queries.commitments(area, status, cursor, 7, forum_id=of)  # noqa: B023, E731
            assert await through(page) == matching(rows["commitment"], area, status=status, forum_id=of)
        for area, all_of in itertools.product(filter(None, ASKED), (True, False)):
            page = lambda cursor: queries.candidates(area, lambda _: all_of, cursor, 7)  # noqa: B023, E731
            expected = matching(rows["open_problem"], area, open=True, away=False, public=None if all_of else True)
            reported = {row["id"] for row in rows["open_problem"] if row["status"] == "reported"}
            assert await through(page) == [one for one in expected if one not in reported]


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
