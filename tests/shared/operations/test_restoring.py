"""Restore: a lost log comes back to the event, goes on as if nothing had been, and a wrong source changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from nats.aio.client import Client
from rembuk.broker import streams
from rembuk.events.event import Metadata
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.reactions import Reactor
from rembuk.log.event_log import EventLog
from rembuk.log.handling import fingerprint, handle
from rembuk.log.relay import Relay
from rembuk.log.sources import LogSource, Source, StreamSource
from rembuk.operations.exporting import Export, ExportSource, Selection
from rembuk.operations.restoring import CannotRestore, end_of_stream, restore
from rembuk.operations.steps import Restored
from rembuk.testing.tallies import (
    CODEC,
    SERVICE,
    TALLY,
    CountUp,
    TallyRegion,
    background,
    count_up,
    eventually,
    everything,
    level,
    messages,
    projecting,
    renewed,
    shown,
)

_ROWS = "select *, (metadata::jsonb - 'fingerprint')::text as told from log.event order by position"


async def rows_of_the_log(region: TallyRegion) -> list[tuple[Any, ...]]:
    """All that is published of each event."""
    owner = await asyncpg.connect(region.owner_url)
    try:
        return [tuple(value for name, value in row.items() if name != "metadata") for row in await owner.fetch(_ROWS)]
    finally:
        await owner.close()


async def publish(region: TallyRegion, log: EventLog, broker: Client) -> None:
    """The stream is level with the log."""
    head = await log.head()

    async def published() -> None:
        assert (await broker.jetstream().stream_info(region.stream)).state.last_seq == head

    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        await eventually(published, 20, (AssertionError, Exception))


async def lose(region: TallyRegion) -> None:
    """PostgreSQL is gone: the same region with a database as it is after its first migration."""
    assert replace(await renewed(region), name=region.name) == region


async def restored(region: TallyRegion, source: Source, last: int, *reactors: Checkpoint) -> Restored:
    async for step in restore(region.owner_url, region.name, SERVICE, source, last, reactors, CODEC):
        if isinstance(step, Restored):
            return step
    raise AssertionError("it never ended")


@asynccontextmanager
async def exported(region: TallyRegion, to: Path) -> AsyncIterator[tuple[Source, int]]:
    """The log as an export, and where it ends."""
    connection = await asyncpg.connect(region.url)
    export = Export(to)
    head = await connection.fetchval("select position from log.head")
    manifest = export.begin(region.name, SERVICE, "ndjson", Selection())
    async for _ in export.write(manifest, LogSource(connection, region.name, SERVICE), 0, head):
        pass
    await connection.close()
    manifest = export.check(region.name, SERVICE)
    yield ExportSource(export, manifest), manifest.read


@pytest.mark.parametrize("origin", ["stream", "export"])
async def test_a_lost_log_comes_back_and_goes_on_at_the_next_position(
    log: EventLog, broker: Client, region: TallyRegion, nats_url: str, tmp_path: Path, origin: str
) -> None:
    await count_up(log, 1_234)
    key, wish = str(uuid4()), CountUp(7, 3, area="35.78")
    asked = Metadata("journey", "", "petugas:7", "", fingerprint(wish, key))
    first = await handle(log, TALLY, UUID(int=1), wish, key, asked)
    await publish(region, log, broker)
    before = await rows_of_the_log(region)
    async with exported(region, tmp_path) as (export, last):
        source = StreamSource(broker, region.stream) if origin == "stream" else export
        assert await end_of_stream(broker, region.stream) == last
        await lose(region)
        assert await restored(region, source, last) == Restored(last, last)
    assert await rows_of_the_log(region) == before
    again = await handle(log, TALLY, UUID(int=1), wish, key, asked)
    assert again == msgspec.structs.replace(first, repeated=True)
    grown = await handle(log, TALLY, UUID(int=1), CountUp(5), uuid4(), Metadata())
    assert (grown.position, grown.version) == (last + 1, first.version + 1)
    await publish(region, log, broker)
    await level(log, broker, region.stream)
    async with projecting(region, nats_url):
        await shown(region, log)


async def test_a_log_that_is_older_than_its_stream_gets_what_it_lacks(
    log: EventLog, broker: Client, region: TallyRegion, tmp_path: Path
) -> None:
    await count_up(log, 100)
    async with exported(region, tmp_path) as (backup, last):
        await count_up(log, 60)
        await publish(region, log, broker)
        before = await rows_of_the_log(region)
        await lose(region)
        assert await restored(region, backup, last) == Restored(100, 100)
    stream = StreamSource(broker, region.stream)
    assert await restored(region, stream, 160) == Restored(160, 60)
    assert await restored(region, stream, 160) == Restored(160, 0)
    assert await rows_of_the_log(region) == before


async def test_appends_that_come_meanwhile_wait_and_follow(log: EventLog, broker: Client, region: TallyRegion) -> None:
    await count_up(log, 700)
    await publish(region, log, broker)
    await lose(region)
    restoring = restore(region.owner_url, region.name, SERVICE, StreamSource(broker, region.stream), 700, (), CODEC)
    await anext(restoring)
    asked = asyncio.create_task(handle(log, TALLY, uuid4(), CountUp(1), uuid4(), Metadata(), new=True))
    async for _ in restoring:
        assert not asked.done()
    assert (await asked).position == 702
    assert [event.position for event in await everything(log)] == list(range(1, 703))


async def test_what_was_reacted_to_before_is_not_reacted_to_again(
    log: EventLog, broker: Client, region: TallyRegion, other_region: TallyRegion
) -> None:
    """The other log's reaction was refused or not; only what came after its last event is new to it."""
    other = EventLog(other_region.url, CODEC)
    await other.start()
    asked_about: list[UUID] = []

    async def react(facts: Any, _: Any) -> list[list[Any]]:
        asked_about.extend(fact.id for fact in facts)
        return [[] for _ in facts]

    await count_up(log, 30)
    await count_up(other, 5)
    await publish(other_region, other, broker)
    await count_up(log, 20)
    await publish(region, log, broker)
    await lose(other_region)
    checkpoint = Checkpoint(other_region.url, "reaction", region.stream)
    await restored(other_region, StreamSource(broker, other_region.stream), 5, checkpoint)
    reactor = Reactor(checkpoint, CODEC, react, other)
    held = await messages(broker, region.stream)
    for start in range(0, 50, 7):
        await reactor.process(held[start : start + 7])
    assert asked_about == [streams.recorded(CODEC, message).id for message in held[30:]]
    assert await checkpoint.position() == 50
    checkpoint.connection.drop()
    await other.stop()


class Damaged:
    """A source of which something is wrong."""

    def __init__(self, source: Source, damage: Any) -> None:
        self._source, self._damage = source, damage

    async def after(self, position: int, limit: int) -> list[Any]:
        return [self._damage(one) for one in await self._source.after(position, limit)]


def _other_header(name: str, value: str, position: int) -> Any:
    def damage(message: Any) -> Any:
        if streams.sequence(message) == position:
            message.headers[name] = value
        return message

    return damage


def _moved(message: Any) -> Any:
    """Everything from position 50 on has slipped by one."""
    position = streams.sequence(message)
    if position < 50:
        return message
    headers = {**message.headers, "ce-position": str(position + 1)}
    return streams.stored_message("", position + 1, headers, message.data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_other_header("ce-region", "papua", 1), "there is no event of tallies of"),
        (_other_header("ce-position", "3", 60), "at position 60 there is no event"),
        (_other_header("ce-time", "2001-01-01T00:00:00+00:00", 60), "position 60 is older than the one before it"),
        (_moved, "position 50 is missing"),
    ],
)
async def test_a_source_that_is_not_this_log_changes_nothing(
    log: EventLog, broker: Client, region: TallyRegion, damage: Any, said: str
) -> None:
    await count_up(log, 100)
    await publish(region, log, broker)
    await lose(region)
    with pytest.raises(CannotRestore, match=said):
        await restored(region, Damaged(StreamSource(broker, region.stream), damage), 100)
    assert await log.head() == 0
    assert await rows_of_the_log(region) == []
    assert await restored(region, StreamSource(broker, region.stream), 100) == Restored(100, 100)


async def test_two_events_of_one_version_are_not_restored(log: EventLog, broker: Client, region: TallyRegion) -> None:
    await count_up(log, 2, tallies=2)
    await publish(region, log, broker)
    first, _ = await rows_of_the_log(region)
    await lose(region)
    twice = Damaged(StreamSource(broker, region.stream), _other_header("ce-subject", str(first[2]), 2))
    with pytest.raises(CannotRestore, match="positions 1 to 2 hold what no log does"):
        await restored(region, twice, 2)
    assert await log.head() == 0


async def test_a_log_that_went_on_by_itself_is_not_mixed_with_what_it_lost(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    await count_up(log, 20)
    await publish(region, log, broker)
    await lose(region)
    await count_up(log, 3)
    before = await rows_of_the_log(region)
    with pytest.raises(CannotRestore, match="it went on by itself after it was lost"):
        await restored(region, StreamSource(broker, region.stream), 20)
    assert await rows_of_the_log(region) == before


async def test_a_source_that_ends_early_changes_nothing(log: EventLog, broker: Client, region: TallyRegion) -> None:
    await count_up(log, 20)
    await publish(region, log, broker)
    await lose(region)
    with pytest.raises(CannotRestore, match="it ends too early"):
        await restored(region, _Short(StreamSource(broker, region.stream)), 20)
    assert await log.head() == 0


class _Short:
    def __init__(self, source: Source) -> None:
        self._source = source

    async def after(self, position: int, limit: int) -> list[Any]:
        return await self._source.after(position, min(limit, 10 - position)) if position < 10 else []
