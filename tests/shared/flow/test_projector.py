"""The projector: rows are what a replay makes of the log, whatever is delivered twice, late, or cannot be borne."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.events.codec import Codec
from rembuk.events.event import Event, RecordedEvent
from rembuk.flow import quarantine
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.following import Hole
from rembuk.flow.projector import Projector
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.testing.tallies import (
    CODEC,
    FOLLOWER,
    SERVICE,
    Counted,
    TallyOpened,
    TallyRegion,
    background,
    count_up,
    eventually,
    everything,
    level,
    messages,
    project,
    rows,
    rows_of,
)


class FromTheFuture(Event, frozen=True):
    """An event of a release that the projection does not know."""

    text: str = ""


@pytest.fixture
async def projector(region: TallyRegion) -> AsyncIterator[Projector]:
    projector = Projector(Checkpoint(region.url, FOLLOWER, region.stream), CODEC, project)
    yield projector
    projector.checkpoint.connection.drop()


async def published(log: EventLog, broker: Client, region: TallyRegion) -> list[Msg]:
    """Every event of the log as its message."""
    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        await eventually(lambda: level(log, broker, region.stream), retry=Exception)
    return await messages(broker, region.stream)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(deliveries=st.lists(st.tuples(st.integers(0, 119), st.integers(1, 60), st.booleans()), max_size=15))
async def test_rows_equal_a_replay_whatever_is_delivered_in_which_order(
    log: EventLog,
    broker: Client,
    region: TallyRegion,
    projector: Projector,
    deliveries: list[tuple[int, int, bool]],
) -> None:
    if not await log.head():
        await count_up(log, 120, tallies=7)
        await published(log, broker, region)
    all_messages = await messages(broker, region.stream)
    events = await everything(log)
    connection = await projector.checkpoint.connection.get()
    await connection.execute("delete from tally; update checkpoint set position = 0")
    position = 0
    for start, count, shuffled in [*deliveries, (position, 120, False)]:
        batch = all_messages[start : start + count]
        if start > position:
            with pytest.raises(Hole) as hole:
                await projector.process(batch)
            assert hole.value.expected == position + 1
        else:
            await projector.process(batch[::-1] if shuffled else batch)
            position = max(position, min(start + count, 120))
        assert await projector.checkpoint.position() == position
        assert await rows(region) == rows_of(events[:position])
    assert position == 120


POISON: dict[str, Event] = {
    "the projection raises": Counted(1, "poison"),
    "the projection raises with NUL in its words": Counted(1, "poison \x00 \U0001f480"),
    "the row would break a constraint": Counted(10**9),
    "the parameter is of another type": Counted(1, "wrong type"),
    "PostgreSQL cannot hold the text": Counted(1, "NUL \x00"),
    "the number is too large": Counted(2**63 - 1),
    "nobody here knows the event": FromTheFuture("x"),
}


@pytest.mark.parametrize("at", [1, 9])
@pytest.mark.parametrize("what", POISON)
async def test_a_poison_event_holds_back_its_own_aggregate_and_no_other(
    region: TallyRegion, broker: Client, projector: Projector, what: str, at: int
) -> None:
    log = EventLog(region.url, Codec([TallyOpened, Counted, FromTheFuture]))
    await log.start()
    ill, well = uuid4(), uuid4()
    for version in range(10):
        good = TallyOpened() if version == 0 else Counted(version)
        await log.append(ill, version, [uuid4()], [POISON[what] if version == at else good])
        await log.append(well, version, [uuid4()], [good])
    events = await everything(log)
    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        await eventually(lambda: _reached(broker, region.stream, 20), retry=Exception)
    batch = await messages(broker, region.stream)
    await projector.process(batch[:15])
    await projector.process(batch[15:])

    good_ones = [event for event in events if event.stream_id == well or event.version <= at]
    assert await rows(region) == rows_of(good_ones)
    assert await projector.checkpoint.position() == 20
    connection = await projector.checkpoint.connection.get()
    aside = await connection.fetch("select * from quarantine order by position")
    assert [row["position"] for row in aside] == [e.position for e in events if e.stream_id == ill and e.version > at]
    assert {row["stream_id"] for row in aside} == {str(ill)}
    assert "behind" not in aside[0]["error"]
    assert all("behind" in row["error"] for row in aside[1:])
    assert CODEC.encode(Counted(5)) in [row["data"] for row in aside] or at > 5
    await log.stop()


async def _reached(broker: Client, stream: str, position: int) -> None:
    assert (await broker.jetstream().stream_info(stream)).state.last_seq == position


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ce-subject": "not an id", "ce-position": "1"},
        {"ce-subject": "a\x00b", "ce-type": "\x00"},
        {"ce-subject": "\x1b[31m\U0001f480", "ce-position": "١"},
        {"ce-id": str(UUID(int=1)), "ce-subject": str(UUID(int=1)), "ce-type": "Counted", "ce-position": "1"},
    ],
)
async def test_a_message_that_no_relay_published_is_set_aside(
    log: EventLog, region: TallyRegion, broker: Client, projector: Projector, headers: dict[str, str]
) -> None:
    jetstream = broker.jetstream()
    await jetstream.add_stream(name=region.stream, subjects=[f"{region.prefix}.>"])
    await jetstream.publish(f"{region.prefix}.x", b"\xff\x00garbage", headers=headers)
    await projector.process(await messages(broker, region.stream))
    assert await projector.checkpoint.position() == 1
    connection = await projector.checkpoint.connection.get()
    assert await connection.fetchval("select data from quarantine where position = 1") == b"\xff\x00garbage"


async def test_a_read_model_without_its_table_waits_and_sets_nothing_aside(
    log: EventLog, region: TallyRegion, broker: Client, projector: Projector
) -> None:
    await count_up(log, 20, tallies=3)
    batch = await published(log, broker, region)
    owner = await asyncpg.connect(region.owner_url)
    await owner.execute("alter table tally rename to not_yet_migrated")
    with pytest.raises(asyncpg.UndefinedTableError):
        await projector.process(batch)
    assert await owner.fetchval("select count(*) from quarantine") == 0
    await owner.execute("alter table not_yet_migrated rename to tally")
    await projector.process(batch)
    assert await rows(region) == rows_of(await everything(log))
    await owner.close()


async def test_what_is_set_aside_is_projected_in_order_once_the_fault_is_mended(
    log: EventLog, region: TallyRegion, broker: Client, projector: Projector
) -> None:
    tally = UUID(int=1)
    await log.append(
        tally, 0, [uuid4() for _ in range(4)], [TallyOpened(), Counted(1), Counted(2, "poison"), Counted(3)]
    )
    await count_up(log, 10)
    await projector.process(await published(log, broker, region))
    operator = await asyncpg.connect(region.url)
    assert await projector.retry(operator, str(tally)) == 2
    assert "cannot bear poison" in await operator.fetchval("select error from quarantine order by position limit 1")
    assert (await rows(region))[tally] == (2, 1, "")
    mended = Projector(projector.checkpoint, CODEC, lambda fact: project(renamed(fact)))
    assert await mended.retry(operator, str(tally)) == 0
    assert (await rows(region))[tally] == (4, 6, "")
    assert await operator.fetchval("select count(*) from quarantine") == 0
    assert await mended.retry(operator, str(tally)) == 0
    await log.append(tally, 4, [uuid4()], [Counted(4)])
    await projector.process(await published(log, broker, region))
    assert (await rows(region))[tally] == (5, 10, "")
    await operator.close()


def renamed(fact: RecordedEvent[Any]) -> RecordedEvent[Any]:
    """What a mended projection sees."""
    event = fact.event
    if getattr(event, "note", "") != "poison":
        return fact
    return msgspec.structs.replace(fact, event=Counted(event.by, "mended"))


async def test_a_batch_under_way_adds_nothing_behind_the_back_of_a_retry(
    log: EventLog, region: TallyRegion, broker: Client, projector: Projector
) -> None:
    tally = UUID(int=1)
    await log.append(tally, 0, [uuid4(), uuid4()], [TallyOpened(), Counted(1, "poison")])
    await projector.process(await published(log, broker, region))
    await log.append(tally, 2, [uuid4()], [Counted(1)])
    batch = await published(log, broker, region)
    operator, other = await asyncpg.connect(region.url), await asyncpg.connect(region.owner_url)
    mended = Projector(projector.checkpoint, CODEC, lambda fact: project(renamed(fact)))
    async with other.transaction():
        await other.execute("select from checkpoint for update")  # the batch has seen what is held, and cannot end
        processing = asyncio.create_task(projector.process(batch))
        retrying = asyncio.create_task(mended.retry(operator, str(tally)))
        await asyncio.sleep(0)
    await processing
    await retrying
    assert await mended.retry(operator, str(tally)) == 0
    assert (await rows(region))[tally] == (3, 2, "")
    for connection in (operator, other):
        await connection.close()


async def test_what_is_skipped_is_kept_with_the_reason_and_its_aggregate_goes_on(
    log: EventLog, region: TallyRegion, broker: Client, projector: Projector
) -> None:
    tally = UUID(int=1)
    await log.append(tally, 0, [uuid4() for _ in range(3)], [TallyOpened(), Counted(1, "poison"), Counted(2)])
    await projector.process(await published(log, broker, region))
    operator = await asyncpg.connect(region.url)
    assert not await quarantine.skip(operator, projector.checkpoint, 1, "not there", "operator")
    with pytest.raises(asyncpg.CheckViolationError):
        await quarantine.skip(operator, projector.checkpoint, 2, "", "operator")
    assert await quarantine.skip(operator, projector.checkpoint, 2, "counted by hand", "operator")
    assert await projector.retry(operator, str(tally)) == 0
    assert (await rows(region))[tally] == (3, 2, "")
    kept = await operator.fetchrow("select * from skipped")
    assert (kept["position"], kept["stream_id"], kept["why"]) == (2, str(tally), "counted by hand")
    assert "cannot bear poison" in kept["error"]
    await operator.close()


async def test_a_deadlock_is_tried_again_and_sets_nothing_aside(
    log: EventLog, region: TallyRegion, broker: Client, projector: Projector, postgres_url: str
) -> None:
    """The projector adds a row, waits for another, and then for its checkpoint, whose holder waits for the first."""
    old, added = UUID(int=1), UUID(int=2)
    await log.append(old, 0, [uuid4()], [TallyOpened()])
    await projector.process(await published(log, broker, region))
    await log.append(added, 0, [uuid4()], [TallyOpened()])
    await log.append(old, 1, [uuid4()], [Counted(1)])
    batch = await published(log, broker, region)
    url = urlsplit(postgres_url)._replace(path=f"/{region.role}").geturl()
    patient, other, watch = [await asyncpg.connect(url) for _ in range(3)]
    await patient.execute("set deadlock_timeout = '1h'")  # so that the projector is the one that is told
    transaction = patient.transaction()
    await transaction.start()
    await patient.execute("select from checkpoint for update")

    async def wait(number: int) -> None:
        query = "select count(*) from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'"
        assert await watch.fetchval(query, region.role) == number

    async with other.transaction():
        await other.execute("select from tally where id = $1 for update", old)
        projecting = asyncio.create_task(projector.process(batch))
        await eventually(lambda: wait(1))
        waiting = asyncio.create_task(patient.execute("insert into tally values ($1, 0, 0, '')", added))
        await eventually(lambda: wait(2))
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await projecting
    await waiting
    await transaction.rollback()
    await projector.process(batch)
    assert await rows(region) == rows_of(await everything(log))
    assert await watch.fetchval("select count(*) from quarantine") == 0
    for connection in (patient, other, watch):
        await connection.close()
