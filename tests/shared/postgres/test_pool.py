"""A pool lends connections that work: none that broke, none that somebody still waits for, and none for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from rembuk.postgres import database
from rembuk.postgres.database import Pool, borrowed, open_pool
from rembuk.testing.tallies import TallyRegion, eventually

_WHO = "select pg_backend_pid()"


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    made = open_pool(postgres_url, f"pool {uuid4()}", 2)
    yield made
    await made.close()


async def who(pool: Pool) -> int:
    async with borrowed(pool) as connection:
        found: int = await connection.fetchval(_WHO)
        return found


async def asleep(pool: Pool, patience_s: float) -> None:
    async with borrowed(pool) as connection:
        await connection.execute("select pg_sleep(1)", timeout=patience_s)


async def test_a_connection_is_used_again_and_another_opens_only_beside_it(pool: Pool) -> None:
    first = await who(pool)
    assert await who(pool) == first
    async with borrowed(pool) as connection:
        assert await connection.fetchval(_WHO) == first
        assert await who(pool) != first


async def test_whoever_finds_all_lent_waits_for_one_and_not_for_ever(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with borrowed(pool):
        async with borrowed(pool) as second:
            found = await second.fetchval(_WHO)
            waiting = asyncio.create_task(who(pool))
            await asyncio.sleep(0)
        assert await waiting == found
        monkeypatch.setattr(database, "CONNECT_S", 0.05)
        async with borrowed(pool):
            with pytest.raises(TimeoutError):
                await who(pool)
    assert await who(pool)


async def test_a_connection_that_broke_is_not_lent_again(pool: Pool, postgres_url: str) -> None:
    first = await who(pool)
    admin = await asyncpg.connect(postgres_url)
    await admin.execute("select pg_terminate_backend($1)", first)
    while await admin.fetchval("select exists (select from pg_stat_activity where pid = $1)", first):
        await asyncio.sleep(0.01)
    await admin.close()
    assert await who(pool) != first


async def test_where_the_answer_is_awaited_no_more_the_connection_goes_and_after_an_error_it_stays(pool: Pool) -> None:
    first = await who(pool)
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with borrowed(pool) as connection:
            await connection.fetchval("select 1 / 0")
    assert await who(pool) == first
    with pytest.raises(TimeoutError):
        await asleep(pool, 0.05)
    assert await who(pool) != first
    second = await who(pool)
    asked = asyncio.create_task(asleep(pool, 5))
    await asyncio.sleep(0.05)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await who(pool) != second
    async with borrowed(pool), borrowed(pool):
        pass  # as many as before


async def test_a_connection_that_nobody_needs_is_closed(
    pool: Pool, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "IDLE_S", 0.05)
    admin = await asyncpg.connect(postgres_url)
    async with borrowed(pool) as connection, borrowed(pool):
        name = await connection.fetchval("show application_name")
    kept = await who(pool)

    async def alive() -> list[int]:
        rows = await admin.fetch("select pid from pg_stat_activity where application_name = $1", name)
        return [row["pid"] for row in rows]

    while await alive() != [kept]:  # the one that is in use stays
        assert await who(pool) == kept
    while await alive():
        await asyncio.sleep(0.01)
    await admin.close()
    assert await who(pool)


async def test_where_no_connection_can_be_made_the_next_one_tries_again(postgres_url: str) -> None:
    url = postgres_url
    made = open_pool(f"{url.rpartition('/')[0]}/nowhere_at_all", "test pool", 1)
    for _ in range(3):
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await who(made)
    await made.close()


async def test_what_is_lent_is_waited_for_at_the_end_and_not_for_ever(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = open_pool(postgres_url, "test pool", 2)
    asking = asyncio.create_task(asleep(made, 5))
    await asyncio.sleep(0.05)
    await made.close()
    await asking  # has its answer
    monkeypatch.setattr(database, "CLOSE_S", 0.1)
    made = open_pool(postgres_url, "test pool", 2)
    asking = asyncio.create_task(asleep(made, 5))
    await asyncio.sleep(0.05)
    await made.close()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await asking


async def test_what_nobody_waits_for_any_more_ends_in_postgres(region: TallyRegion) -> None:
    name = f"gone {uuid4()}"
    pool, looking = open_pool(region.url, name, 1), await asyncpg.connect(region.url)
    at_work = "select count(*) from pg_stat_activity where application_name = $1 and state = 'active'"

    async def asks() -> None:
        async with borrowed(pool) as connection:
            await connection.execute("select pg_sleep(60)")

    async def works(many: int) -> None:
        assert await looking.fetchval(at_work, name) == many

    try:
        asking = asyncio.create_task(asks())
        await eventually(lambda: works(1))
        asking.cancel()
        await eventually(lambda: works(0))
    finally:
        await looking.close()
        await pool.close()
