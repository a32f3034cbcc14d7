"""Rebuild: a fresh read model beside the live one, compared by row and swapped in, whatever goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.broker.streams import sequence
from rembuk.events.event import RecordedEvent
from rembuk.flow import quarantine
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.projector import Projector
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.log.sources import Ending, LogSource, StreamSource
from rembuk.operations.rebuilding import CannotRebuild, Rebuild
from rembuk.operations.steps import Compared, LeftBeside, Rebuilding, RebuildStep, RowDifference, Swapped
from rembuk.postgres.bulk import Change
from rembuk.testing.tallies import (
    CODEC,
    FOLLOWER,
    SERVICE,
    Counted,
    TallyOpened,
    TallyRegion,
    background,
    count_up,
    everything,
    project,
    projecting,
    rows,
    rows_of,
    shown,
    tally_table,
)

CATALOG = """
    select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'tally'::regclass union all
    select conname || pg_get_constraintdef(oid) from pg_constraint where conrelid = 'tally'::regclass union all
    select pg_get_triggerdef(oid) from pg_trigger where tgrelid = 'tally'::regclass union all
    select array_to_string(reloptions, ', ') from pg_class where oid = 'tally'::regclass union all
    select relacl::text || relowner from pg_class where oid = 'tally'::regclass union all
    select attname || ' ' || atttypid::regtype || attnotnull from pg_attribute
    where attrelid = 'tally'::regclass and attnum > 0"""
INDEXES = "select indexname from pg_indexes where schemaname = $1 and tablename = 'tally' order by 1"
DECORATION = """
    alter table tally set (fillfactor = 90);
    create index tally_total on tally (total) where total > 0;
    create function noted() returns trigger language plpgsql as $$ begin return null; end $$;
    create trigger noted after insert on tally for each statement execute function noted()"""


class Watched:
    """A source that remembers what was read of it, and may give so many pages only, small ones then."""

    def __init__(self, source: Ending, pages: int | None) -> None:
        self.source, self._pages = source, pages
        self.read: list[int] = []

    async def after(self, position: int, limit: int) -> list[Msg]:
        if self._pages is None:
            messages = await self.source.after(position, limit)
        elif self._pages:
            self._pages -= 1
            messages = await self.source.after(position, 50)
        else:
            raise ConnectionError("cut off")
        self.read += map(sequence, messages)
        return messages

    async def end(self) -> int:
        return await self.source.end()


@asynccontextmanager
async def rebuilding(
    region: TallyRegion,
    projection: Callable[[RecordedEvent[Any]], Sequence[Change]] = project,
    code: str = "release 1",
    pages: int | None = None,
) -> AsyncIterator[tuple[Rebuild, Watched]]:
    reader = await asyncpg.connect(region.url)
    source = Watched(LogSource(reader, region.name, SERVICE), pages)
    live = Projector(Checkpoint(region.url, FOLLOWER, region.stream), CODEC, projection)
    try:
        yield Rebuild(region.owner_url, region.role, [tally_table], [live], {region.stream: source}, code), source
    finally:
        await reader.close()


async def steps_of(steps: AsyncIterator[RebuildStep]) -> list[RebuildStep]:
    return [step async for step in steps]


async def swapped(region: TallyRegion, **how: Any) -> list[RebuildStep]:
    async with rebuilding(region, **how) as (rebuild, _):
        return await steps_of(rebuild.swap())


def told(steps: Sequence[RebuildStep], kind: type[Any]) -> list[Any]:
    return [step for step in steps if isinstance(step, kind)]


@asynccontextmanager
async def owner_of(region: TallyRegion) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(region.owner_url)
    try:
        yield connection
    finally:
        await connection.close()


async def catalog(region: TallyRegion) -> list[str]:
    async with owner_of(region) as owner:
        return sorted(row[0] for row in await owner.fetch(CATALOG))


async def schemas(region: TallyRegion) -> list[str]:
    async with owner_of(region) as owner:
        query = "select nspname from pg_namespace where nspname !~ '^pg_|information_schema' order by 1"
        return [row[0] for row in await owner.fetch(query)]


@pytest.fixture
async def live(log: EventLog, broker: Client, region: TallyRegion, nats_url: str) -> AsyncIterator[TallyRegion]:
    """A region of 1000 events that its projection has taken and goes on to follow."""
    async with owner_of(region) as owner:
        await owner.execute(DECORATION)
    await count_up(log, 1000, tallies=8)
    async with background(Relay(region.url, broker, region.name, SERVICE).run()), projecting(region, nats_url):
        await shown(region, log)
        yield region


async def test_what_is_right_is_found_so_and_swapped_for_its_like(log: EventLog, live: TallyRegion) -> None:
    before = await catalog(live)
    steps = await swapped(live)
    assert told(steps, Compared) == [Compared("tally", 8, 0, 0, 0)]
    assert told(steps, RowDifference) == []
    assert steps[-1] == Swapped(0)
    assert await catalog(live) == before
    assert await schemas(live) == ["log", "public"]
    assert await rows(live) == rows_of(await everything(log))
    await count_up(log, 100, tallies=3)
    await shown(live, log)


async def test_each_row_that_differs_is_told_and_put_right(log: EventLog, live: TallyRegion) -> None:
    changed, lost, *_ = sorted(await rows(live))
    async with owner_of(live) as owner:
        await owner.execute("update tally set total = total + 1 where id = $1", changed)
        await owner.execute("delete from tally where id = $1", lost)
        await owner.execute("insert into tally values ($1, 1, 5, 'never happened')", invented := uuid4())
    async with rebuilding(live) as (rebuild, _):
        compared = await steps_of(rebuild.compare())
    assert await rows(live) != rows_of(await everything(log))  # to compare changes nothing
    assert await schemas(live) == ["log", "public"]
    steps = await swapped(live)
    for told_by in (compared, steps):
        assert told(told_by, Compared) == [Compared("tally", 8, 1, 1, 1)]
        by_id = {}
        for difference in told(told_by, RowDifference):
            old, new = msgspec.json.decode(difference.live), msgspec.json.decode(difference.new)
            by_id[(old or new)["id"]] = (old, new)
        assert by_id[str(lost)][0] is None
        assert by_id[str(invented)][1] is None
        old, new = by_id[str(changed)]
        assert old == {**new, "total": new["total"] + 1}
    assert await rows(live) == rows_of(await everything(log))


async def test_it_comes_to_its_end_while_events_keep_coming_and_none_is_lost(log: EventLog, live: TallyRegion) -> None:
    going_on = True

    async def report() -> None:
        while going_on:
            await count_up(log, 40, tallies=4)
            await shown(live, log)

    async def look() -> None:
        reader = await asyncpg.connect(live.url)
        while going_on:
            await reader.fetch("select * from tally", timeout=2)
            await asyncio.sleep(0.005)
        await reader.close()

    traffic = [asyncio.create_task(one()) for one in (report, report, look)]
    for _ in range(4):
        assert told(await swapped(live), RowDifference) == []
    going_on = False
    await asyncio.gather(*traffic)
    await shown(live, log)


async def test_a_vacuum_is_waited_for_in_nobodys_way(log: EventLog, live: TallyRegion) -> None:
    waiting = """select mode from pg_locks join pg_stat_activity using (pid)
                 where not granted and locktype = 'relation' and application_name = 'rebuild'"""
    async with owner_of(live) as vacuuming, owner_of(live) as looking:

        async def waits() -> None:
            while [row["mode"] for row in await looking.fetch(waiting)] != ["ShareUpdateExclusiveLock"]:
                await asyncio.sleep(0.01)

        async with vacuuming.transaction():
            await vacuuming.execute("lock table tally in share update exclusive mode")  # as a vacuum does
            swap = asyncio.create_task(swapped(live))
            await asyncio.wait_for(waits(), 20)
            await asyncio.sleep(1)  # longer than readers may be kept waiting
            assert [row["mode"] for row in await looking.fetch(waiting)] == ["ShareUpdateExclusiveLock"]
            assert len(await looking.fetch("select * from tally", timeout=2)) == 8
            await count_up(log, 10, tallies=3)
            await shown(live, log)
        assert (await swap)[-1] == Swapped(0)
    assert await rows(live) == rows_of(await everything(log))


async def test_an_interrupted_one_is_gone_on_with_by_the_same_code_only(log: EventLog, live: TallyRegion) -> None:
    async with rebuilding(live, pages=4) as (rebuild, source):
        with pytest.raises(ConnectionError, match="cut off"):
            await steps_of(rebuild.swap())
    assert await rows(live) == rows_of(await everything(log))
    async with rebuilding(live) as (rebuild, source):
        await steps_of(rebuild.swap())
    assert min(source.read) == 201
    async with rebuilding(live, pages=4) as (rebuild, _):
        with pytest.raises(ConnectionError, match="cut off"):
            await steps_of(rebuild.swap())
    async with rebuilding(live, code="release 2") as (rebuild, source):
        await steps_of(rebuild.swap())
    assert min(source.read) == 1
    assert await rows(live) == rows_of(await everything(log))


async def test_poison_stays_in_quarantine_and_comes_out_once_the_code_can_bear_it(
    log: EventLog, live: TallyRegion
) -> None:
    facts = [TallyOpened(), Counted(1), Counted(2, "poison"), Counted(3)]
    await log.append(ill := uuid4(), 0, [uuid4() for _ in facts], facts)
    async with owner_of(live) as owner:

        async def held() -> list[tuple[str, int]]:
            query = "select stream_id, position from quarantine order by position"
            return [(row["stream_id"], row["position"]) for row in await owner.fetch(query)]

        await _until(held, [(str(ill), 1003), (str(ill), 1004)])
        since = await owner.fetch("select quarantined_at from quarantine")
        steps = await swapped(live)
        assert told(steps, RowDifference) == []
        assert steps[-1] == Swapped(2)
        assert await held() == [(str(ill), 1003), (str(ill), 1004)]
        assert await owner.fetch("select quarantined_at from quarantine") == since

        def mended(fact: RecordedEvent[Any]) -> Sequence[Change]:
            note = getattr(fact.event, "note", "")
            return project(
                msgspec.structs.replace(fact, event=Counted(fact.event.by, "well")) if note == "poison" else fact
            )

        steps = await swapped(live, projection=mended, code="release 2")
        [(table, differing)] = [(one.table, one.changed) for one in told(steps, Compared)]
        assert (table, differing, steps[-1]) == ("tally", 1, Swapped(0))
        assert await held() == []
        assert (await rows(live))[ill] == (4, 6, "")


async def test_what_todays_code_cannot_take_is_not_lost_from_the_live_model(log: EventLog, live: TallyRegion) -> None:
    def broken(fact: RecordedEvent[Any]) -> Sequence[Change]:
        if fact.position in (201, 301):
            raise ValueError("a release that forgot something")
        return project(fact)

    before = await rows(live)
    for _ in ("begun", "gone on with, its indexes there already"):
        with pytest.raises(
            CannotRebuild, match=r"position 201 of .*_TALLIES, because of ValueError: a release that forgot"
        ):
            await swapped(live, projection=broken, code="a bad release")
    assert await rows(live) == before
    async with owner_of(live) as owner:
        assert await owner.fetchval("select count(*) from quarantine") == 0
    assert (await swapped(live, code="mended"))[-1] == Swapped(0)


async def test_what_was_skipped_is_left_out(log: EventLog, live: TallyRegion) -> None:
    facts = [TallyOpened(), Counted(1), Counted(2, "poison"), Counted(4)]
    await log.append(ill := uuid4(), 0, [uuid4() for _ in facts], facts)
    live_projector = Projector(Checkpoint(live.url, FOLLOWER, live.stream), CODEC, project)
    async with owner_of(live) as owner:

        async def held() -> int:
            return int(await owner.fetchval("select count(*) from quarantine"))

        await _until(held, 2)
        await quarantine.skip(owner, live_projector.checkpoint, 1003, "a test", "the test")
        assert await live_projector.retry(owner, str(ill)) == 0
    assert (await rows(live))[ill] == (4, 5, "")
    steps = await swapped(live)
    assert told(steps, RowDifference) == []
    assert steps[-1] == Swapped(0)
    assert (await rows(live))[ill] == (4, 5, "")


async def test_as_of_stands_beside_the_live_model_and_is_read_by_the_service(log: EventLog, live: TallyRegion) -> None:
    events = await everything(log)
    for when in (150, events[299].recorded_at):
        position = when if isinstance(when, int) else max(e.position for e in events if e.recorded_at <= when)
        async with rebuilding(live) as (rebuild, _):
            steps = await steps_of(rebuild.as_of(when))
        assert steps[-1] == LeftBeside(f"as_of_{position}", position)
        service = await asyncpg.connect(live.url)
        found = await service.fetch(f"select id, version, total, note from as_of_{position}.tally")
        assert await service.fetch(INDEXES, f"as_of_{position}") == await service.fetch(INDEXES, "public")
        await service.close()
        assert {row["id"]: tuple(row)[1:] for row in found} == rows_of(events[:position])
    assert await rows(live) == rows_of(events)
    async with rebuilding(live) as (rebuild, _):
        for beyond in (100_000, 2**63):
            with pytest.raises(CannotRebuild, match=f"no position {beyond}: the log ends at 1000"):
                await steps_of(rebuild.as_of(beyond))
        with pytest.raises(CannotRebuild, match=r"nothing had been recorded by 2020-01-01T00:00:00\+00:00"):
            await steps_of(rebuild.as_of(datetime(2020, 1, 1, tzinfo=UTC)))
        assert len(await rebuild.discard()) == 2
    assert await schemas(live) == ["log", "public"]


async def test_another_services_stream_is_a_source_like_the_own_log(
    log: EventLog, live: TallyRegion, broker: Client
) -> None:
    async with rebuilding(live) as (_, from_log):
        from_stream = StreamSource(broker, live.stream)
        for position, limit in ((0, 30), (30, 50), (10, 400), (399, 1)):
            ours, theirs = await from_log.after(position, limit), await from_stream.after(position, limit)
            both = min(len(ours), len(theirs))
            assert both > 0
            for one, other in zip(ours[:both], theirs[:both], strict=True):
                assert (sequence(one), one.data) == (sequence(other), other.data)
                assert one.headers.items() <= other.headers.items()


@pytest.mark.parametrize("from_stream", [False, True])
async def test_a_model_whose_checkpoint_is_beyond_the_end_is_compared_there_and_not_swapped(
    live: TallyRegion, broker: Client, from_stream: bool
) -> None:
    async with rebuilding(live) as (rebuild, source), owner_of(live) as owner:
        if from_stream:
            source.source = StreamSource(broker, live.stream)
        await owner.execute("update checkpoint set position = 5000")
        assert told(await steps_of(rebuild.compare()), Compared) == [Compared("tally", 8, 0, 0, 0)]
        with pytest.raises(CannotRebuild, match=f"checkpoint of {FOLLOWER} is 5000, beyond the end of .*, 1000"):
            await steps_of(rebuild.swap())
        assert await rebuild.discard() == ["rebuild"]


async def test_two_at_once_are_refused(live: TallyRegion) -> None:
    async with rebuilding(live) as (first, _), rebuilding(live) as (second, _):
        steps = first.swap()
        assert isinstance(await anext(steps), Rebuilding)
        with pytest.raises(CannotRebuild, match="another rebuild"):
            await steps_of(second.swap())
        assert told(await steps_of(steps), Swapped)


async def test_a_full_disk_ends_it_without_a_change_and_it_is_gone_on_with(log: EventLog, live: TallyRegion) -> None:
    async with rebuilding(live, pages=4) as (rebuild, _):
        with pytest.raises(ConnectionError):
            await steps_of(rebuild.swap())
    async with owner_of(live) as owner:
        await owner.execute(
            "create function rebuild.full() returns trigger language plpgsql as "
            "$$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;"
            "create trigger disk_full before insert or update on rebuild.tally execute function rebuild.full()"
        )
    with pytest.raises(asyncpg.DiskFullError):
        await swapped(live)
    assert await rows(live) == rows_of(await everything(log))
    async with owner_of(live) as owner:
        await owner.execute("drop trigger disk_full on rebuild.tally")
    assert told(await swapped(live), RowDifference) == []


async def _until(ask: Callable[[], Any], wanted: Any) -> None:
    async with asyncio.timeout(20):
        while await ask() != wanted:
            await asyncio.sleep(0.02)
