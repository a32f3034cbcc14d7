"""Pages of problems: every combination of filters finds what it should, in order and without loss, along an index."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
import pytest
from rembuk.contracts.disclosure import may_see, shown_area
from rembuk.contracts.status import Between, Status
from rembuk.events.reference import position_of
from rembuk.keys.region_key import RegionKey, RegionKeys
from rembuk.postgres.database import PlainSql
from rembuk.postgres.migrations import upgrade
from rembuk.postgres.provisioning import ServiceDatabase, provision
from rembuk.sealing.opened_texts import KEPT_S, OpenedTexts
from rembuk.sealing.vault import Vault, stream_of
from rembuk.web.reading import ReadModel
from reports import listing, projection
from reports.queries import Problem, ProblemQueries

AREAS = ("35", "35.78", "35.78.08", "35.78.08.1004", "35.78.08.1003", "35.78.09.1001", "35.01.01.2001", "33.74.01.1001")
CATEGORIES = ("theft", "noise", "of a later release")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 400
KEYS = RegionKeys([RegionKey(b"k" * 32)])
COLUMNS = ("id", "position", "version", "area", "category", "title", "description", "event_id", "texts_of",
           "disclosure", "public", "status", "referral", "reported_at", "changed_at")  # fmt: skip


def rows() -> Iterator[tuple[Any, ...]]:
    """Problems of every kind; some were reported earlier than their position tells, for they came from elsewhere."""
    chance = random.Random(3)
    for position in range(1, MANY + 1):
        status, referral = chance.choice(get_args(Status)), None
        if status in get_args(Between):
            status, referral = "verified", status
        at = BEGAN + timedelta(minutes=position // 3 if position % 7 else position // 2)
        yield (
            uuid4(), position, 1, chance.choice(AREAS), chance.choice(CATEGORIES), "Motor hilang", "Di gang.", uuid4(),
            uuid4(), chance.choice(("public", "public", "commander", "of a later release")), status, referral, at, at,
        )  # fmt: skip


@pytest.fixture(scope="module")
def database(postgres_url: str) -> ServiceDatabase:
    """Of a region that has problems already when it comes from the release before."""
    made = asyncio.run(provision(postgres_url, f"l{uuid4().hex[:8]}", "reports", "test"))
    upgrade("reports", made.owner_url, made.role, "0008")

    async def fill() -> None:
        owner = await asyncpg.connect(made.owner_url)
        await owner.copy_records_to_table(
            "problem", columns=[one for one in COLUMNS if one != "public"], records=list(rows())
        )
        await owner.close()

    asyncio.run(fill())
    upgrade("reports", made.owner_url, made.role)
    return made


@asynccontextmanager
async def asking(database: ServiceDatabase) -> AsyncIterator[ProblemQueries]:
    sql = PlainSql(database.service_url, "test")
    vault = Vault(database.service_url, KEYS)
    await vault.start()
    await sql.start()
    try:
        yield ProblemQueries(ReadModel(sql, "projection", "X_REPORTS"), "x", vault)
    finally:
        await sql.stop()
        await vault.stop()


async def test_every_combination_of_filters_finds_what_it_should_page_by_page(database: ServiceDatabase) -> None:
    connection = await asyncpg.connect(database.service_url)
    known = await connection.fetch("select * from problem order by reported_at desc, position desc")
    assert all(row["public"] is may_see("public", row["category"], row["disclosure"]) for row in known)
    assert {row["public"] for row in known} == {True, False}
    await connection.close()
    areas, sinces = (None, *AREAS[:4], "33"), (None, BEGAN + timedelta(minutes=60))
    async with asking(database) as queries:
        for area, category, status, since in itertools.chain(
            itertools.product(areas, (None, *CATEGORIES), (None, "closed", "offered"), sinces),
            itertools.product((None, "35.78"), (None,), get_args(Status), (None,)),
        ):
            expected = [
                (row["position"], str(row["id"]) if row["public"] else None)
                for row in known
                if (area is None or f"{_as_shown(row, row['area'], shown_area(row['area']))}.".startswith(f"{area}."))
                and category in (None, _as_shown(row, row["category"], None))
                and status in (None, row["referral"] or row["status"])
                and (since is None or row["reported_at"] >= since)
            ]
            found: list[tuple[int | None, str | None]] = []
            cursor = None
            while True:
                page = await queries.page(
                    _nowhere, area=area, category=category, status=status, since=since, cursor=cursor, limit=37
                )
                found += [(position_of(problem.reference, "x"), problem.id) for problem in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert found == expected, (area, category, status, since)


async def test_the_columns_are_the_fields_of_a_problem_in_their_order_and_by_what_it_is_opened(
    database: ServiceDatabase,
) -> None:
    connection = await asyncpg.connect(database.service_url)
    columns = [one.name for one in (await connection.prepare(listing.one(""))).get_attributes()]
    await connection.close()
    made_of = {"reference": "position", "withheld": "public"}
    fields = [made_of.get(name, name) for name in Problem.__struct_fields__]
    assert columns == [*fields, "event_id", "epoch"]


def _nowhere(_: str) -> bool:
    """Where somebody without a token reads what is not public."""
    return False


def _as_shown(row: asyncpg.Record, clear: str, coarse: str | None) -> str | None:
    return clear if row["public"] else coarse


async def test_every_combination_of_filters_walks_along_indexes(database: ServiceDatabase) -> None:
    """What a page costs must not grow with what matches."""
    connection = await asyncpg.connect(
        database.service_url, server_settings={"enable_seqscan": "off", "enable_bitmapscan": "off"}
    )
    for area, category, status in itertools.product((2, 5, 8, 13), (False, True), (False, True)):
        filters = [value for given, value in ((area, "35"), (category, "theft"), (status, "closed")) if given]
        plan = await connection.fetch(f"explain {_literally(listing.page('', area, category, status, False), filters)}")
        text = "\n".join(line[0] for line in plan)
        assert "Seq Scan on problem" not in text, text
        assert "Filter: " not in text.replace("One-Time Filter: ", ""), text  # it walks past nothing that it leaves out
    await connection.close()


async def test_an_event_that_changes_no_status_moves_no_entry_of_an_index(database: ServiceDatabase) -> None:
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute("vacuum full problem")  # pages with the room that they are made with
    row = dict(await connection.fetchrow("select * from problem limit 1") or ())
    row |= {"version": 2, "root_cause": "Gelap", "priority": "high", "status": "solved", "changed_at": BEGAN}
    beside = "select n_tup_hot_upd from pg_stat_xact_user_tables where relname = 'problem'"
    kept = {}
    for statement in (projection.ANALYSED, projection.PRIORITISED, projection.CHANGED, projection.STATUS):
        change = connection.transaction()
        await change.start()
        before = await connection.fetchval(beside)
        await connection.execute(statement.sql, *([row[name]] for name in statement.parameters))
        kept[statement] = await connection.fetchval(beside) - before
        await change.rollback()
    assert [*kept.values()] == [1, 1, 1, 0]
    await connection.close()


def _literally(query: str, filters: list[str]) -> str:
    values = ["51", "'-infinity'", "'infinity'", str(2**62), *(f"'{value}'" for value in filters)]
    for number, value in reversed(list(enumerate(values, 1))):
        query = query.replace(f"${number}", value)
    return query


class Gone:
    """A key that was there, and is not."""

    def __init__(self) -> None:
        self.event_id, self.person = uuid4(), uuid4()
        self.vault = Vault("", KEYS)
        key = self.vault.new_key(self.person)
        self.key, self.sealed = key.wrapped, key.seal(self.event_id, "Motor Pak Kasuari.")


async def test_what_was_opened_is_shown_again_as_long_as_no_key_was_destroyed_or_altered(
    database: ServiceDatabase,
) -> None:
    it = Gone()
    owner = await asyncpg.connect(database.owner_url)
    service = await asyncpg.connect(database.service_url)
    vault = Vault(database.service_url, KEYS)
    await vault.start()
    texts = OpenedTexts(vault)
    key = str(it.event_id)

    async def given() -> None:
        await owner.execute(
            "insert into vault_key (person, wrapped, key_id) values ($1, $2, $3) "
            "on conflict (person) do update set wrapped = excluded.wrapped",
            *it.key,
        )

    async def shown(sealed: str = it.sealed) -> object:
        epoch = await service.fetchval("select epoch::text from vault_epoch")
        return (await texts.opened([(sealed, key)], epoch))[key]

    try:
        await given()
        assert await shown() == "Motor Pak Kasuari."
        before = await service.fetchval("select epoch from vault_epoch")
        await vault.stop()  # who asked it now would fail
        await service.execute("delete from vault_key where person = $1", uuid4())  # nobody's
        await service.execute(
            "insert into vault_key (person, wrapped, key_id) values ($1, $2, $3) "
            "on conflict (person) do update set key_id = excluded.key_id",
            uuid4(), *it.key[1:],
        )  # fmt: skip
        assert await shown() == "Motor Pak Kasuari."
        assert await service.fetchval("select epoch from vault_epoch") == before
        await vault.start()
        assert not isinstance(await shown(it.sealed[:-2] + "AA"), str)
        one = f"where person = '{it.person}'"
        for change in (
            f"update vault_key set wrapped = decode(repeat('00', 60), 'hex') {one}", f"delete from vault_key {one}",
            "truncate vault_key",
        ):  # fmt: skip
            await given()
            assert await shown() == "Motor Pak Kasuari."
            await owner.execute(change)
            assert not isinstance(await shown(), str)
    finally:
        await vault.stop()
        await owner.close()
        await service.close()
    assert KEPT_S <= 60


async def test_whose_key_is_gone_is_not_shown_and_is_erased_only_if_the_log_says_so(
    database: ServiceDatabase,
) -> None:
    it = Gone()
    problem = uuid4()
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute("insert into vault_key (person, wrapped, key_id) values ($1, $2, $3)", *it.key)
    at = BEGAN + timedelta(days=400)
    values = (problem, MANY + 1, 1, "34.71.01.1001", "theft", "Motor hilang", it.sealed, it.event_id, it.person,
              "public", True, "closed", None, at, at)  # fmt: skip
    await connection.copy_records_to_table("problem", columns=list(COLUMNS), records=[values])
    async with asking(database) as queries:
        [shown] = (await queries.page(_nowhere, area="34")).items
        assert (shown.description, shown.erased) == ("Motor Pak Kasuari.", False)
        await connection.execute("delete from vault_key where person = $1", it.person)  # no row of `erased` yet
        assert await _shown(queries, problem) == [(None, False)] * 2
        await connection.execute(
            "insert into log.event values (1, $1, $2, 1, 'PersonErased', 1, '34.71', $3, '{}', $4)",
            uuid4(), stream_of(it.person), f'{{"person": "{it.person}"}}', at,
        )  # fmt: skip
        assert await _shown(queries, problem) == [(None, True)] * 2
    await connection.execute("delete from problem where id = $1", problem)
    await connection.close()


async def _shown(queries: ProblemQueries, problem: UUID) -> list[tuple[str | None, bool]]:
    """The description and whether it is erased, in a page and alone."""
    one = await queries.one(problem, _nowhere)
    assert one is not None
    return [(shown.description, shown.erased) for shown in (*(await queries.page(_nowhere, area="34")).items, one)]
