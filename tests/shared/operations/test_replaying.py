"""Replay: an aggregate's rows after each event, as the projection makes them, and nothing changed by looking."""

from datetime import datetime
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from nats.aio.client import Client
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.operations.replaying import Step, replay
from rembuk.testing.tallies import (
    CODEC,
    SERVICE,
    Counted,
    TallyOpened,
    TallyRegion,
    background,
    count_up,
    eventually,
    everything,
    level,
    project,
    projecting,
    rows,
    shown,
    tally_table,
)


async def replayed(region: TallyRegion, stream_id: UUID, as_of: int | datetime | None = None) -> list[Step]:
    return [
        step async for step in replay(region.owner_url, CODEC, project, [tally_table], region.stream, stream_id, as_of)
    ]


async def test_each_step_shows_the_rows_as_they_were_after_it(log: EventLog, region: TallyRegion) -> None:
    await count_up(log, 30, tallies=3)
    await log.append(
        tally := uuid4(), 0, [uuid4() for _ in range(3)], [TallyOpened(), Counted(2, "a"), Counted(5, "b")]
    )
    await count_up(log, 30, tallies=3)
    steps = await replayed(region, tally)
    assert [step.event for step in steps] == await log.read_stream(tally)
    states = [msgspec.json.decode(step.state["tally"]) for step in steps]
    assert [[(row["total"], row["note"], row["version"]) for row in state] for state in states] == [
        [(0, "", 1)], [(2, "a", 2)], [(7, "b", 3)],
    ]  # fmt: skip


async def test_as_of_a_position_or_a_moment_ends_there(log: EventLog, region: TallyRegion) -> None:
    tally = uuid4()
    await log.append(tally, 0, [uuid4()], [TallyOpened()])
    await log.append(tally, 1, [uuid4()], [Counted(1)])
    await log.append(tally, 2, [uuid4()], [Counted(1)])
    second = (await log.read_stream(tally))[1]
    for as_of in (second.position, second.recorded_at):
        assert [step.event.version for step in await replayed(region, tally, as_of)] == [1, 2]
    assert await replayed(region, tally, 0) == []
    assert await replayed(region, uuid4()) == []


async def test_it_changes_nothing_whatever_the_live_projection_does(
    log: EventLog, broker: Client, region: TallyRegion, nats_url: str
) -> None:
    await count_up(log, 200, tallies=4)
    async with background(Relay(region.url, broker, region.name, SERVICE).run()), projecting(region, nats_url):
        await shown(region, log)
        before = await rows(region)
        for event in {event.stream_id for event in await everything(log)}:
            await replayed(region, event)
        assert await rows(region) == before
        await count_up(log, 200, tallies=4)
        await shown(region, log)
    await eventually(lambda: level(log, broker, region.stream), retry=Exception)


async def test_what_the_projection_cannot_bear_is_said_and_leaves_nothing(log: EventLog, region: TallyRegion) -> None:
    tally = uuid4()
    await log.append(tally, 0, [uuid4(), uuid4()], [TallyOpened(), Counted(1, "poison")])
    with pytest.raises(ValueError, match="poison"):
        await replayed(region, tally)
    owner = await asyncpg.connect(region.owner_url)
    assert await owner.fetchval("select count(*) from tally") == 0
    await owner.close()
