"""Reactions: another service's event becomes our command once, whatever is delivered, replayed or killed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.events.codec import Codec
from rembuk.events.event import Event, Metadata, RecordedEvent
from rembuk.events.ids import derive_id
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.reactions import Reactor, Wish
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.postgres.database import UNREACHABLE, Unavailable
from rembuk.process import logs
from rembuk.testing.servers import Server
from rembuk.testing.tallies import (
    CODEC,
    SERVICE,
    TALLY,
    Counted,
    CountUp,
    TallyOpened,
    TallyRegion,
    background,
    count_up,
    eventually,
    everything,
    messages,
    tally_region,
)
from structlog.testing import capture_logs

LIMIT = 10_000


class FromTheFuture(Event, frozen=True):
    """An event that this reactor's release does not know."""


async def react(facts: Sequence[RecordedEvent[Any]], _: "asyncpg.Connection[Any]") -> list[list[Wish]]:
    return [wishes(fact) for fact in facts]


def wishes(fact: RecordedEvent[Any]) -> list[Wish]:
    """Whatever is counted there is counted here, too, in a tally of its own; a note says what goes wrong."""
    match fact.event:
        case Counted(note="react fails"):
            raise RuntimeError("a bug in react")
        case Counted(note="decide fails"):
            return [Wish(TALLY, echo(fact), "no command at all", "count")]
        case Counted(by=by):
            return [Wish(TALLY, echo(fact), CountUp(by, at_most=LIMIT), name) for name in ("count", "count again")]
    return []


def echo(fact: RecordedEvent[Any]) -> UUID:
    return derive_id("echo", fact.stream_id)


@dataclass
class Ours:
    """The service that reacts: its database, its log, and its reactor to the other region's stream."""

    region: TallyRegion
    log: EventLog
    reactor: Reactor

    async def ledger(self) -> list[tuple[UUID, str, str, str]]:
        connection = await self.reactor.checkpoint.connection.get()
        found = await connection.fetch("select event_id, command, outcome, detail from reaction order by 1, 2")
        return [tuple(row) for row in found]

    async def aside(self) -> list[int]:
        connection = await self.reactor.checkpoint.connection.get()
        return [row[0] for row in await connection.fetch("select position from quarantine order by position")]

    async def set_checkpoint(self, position: int) -> None:
        connection = await self.reactor.checkpoint.connection.get()
        await self.reactor.checkpoint.position()
        await connection.execute("update checkpoint set position = $1", position)


async def ours_in(region: TallyRegion, stream: str) -> Ours:
    log = EventLog(region.url, CODEC)
    await log.start()
    return Ours(region, log, Reactor(Checkpoint(region.url, "echo", stream), CODEC, react, log))


@pytest.fixture
async def ours(other_region: TallyRegion, region: TallyRegion) -> AsyncIterator[Ours]:
    ours = await ours_in(other_region, region.stream)
    yield ours
    ours.reactor.checkpoint.connection.drop()
    await ours.log.stop()


@pytest.fixture
async def theirs(region: TallyRegion) -> AsyncIterator[EventLog]:
    """The log of the service that is reacted to, of a release newer than ours."""
    log = EventLog(region.url, Codec([TallyOpened, Counted, FromTheFuture]))
    await log.start()
    yield log
    await log.stop()


async def published(theirs: EventLog, broker: Client, region: TallyRegion) -> list[Msg]:
    head = await theirs.head()

    async def all_of_it() -> list[Msg]:
        found = await messages(broker, region.stream)
        assert len(found) == head
        return found

    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        return await eventually(all_of_it, retry=Exception)


def totals(events: Sequence[RecordedEvent[Any]]) -> dict[UUID, int]:
    sums: dict[UUID, int] = {}
    for fact in events:
        sums[fact.stream_id] = sums.get(fact.stream_id, 0) + getattr(fact.event, "by", 0)
    return sums


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(resets=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=6))
async def test_each_event_is_reacted_to_once_wherever_the_checkpoint_is_put(
    theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours, resets: list[tuple[int, int]]
) -> None:
    if not await theirs.head():
        await count_up(theirs, 60, tallies=6)
        await published(theirs, broker, region)
    batch = await messages(broker, region.stream)
    await ours.reactor.process(batch)
    first = await everything(ours.log)
    ledger = await ours.ledger()
    for position, count in resets:
        await ours.set_checkpoint(position)
        await ours.reactor.process(batch[position : position + count])
    assert await everything(ours.log) == first
    assert await ours.ledger() == ledger
    expected = {derive_id("echo", tally): 2 * total for tally, total in totals(await everything(theirs)).items()}
    assert totals(first) == {tally: total for tally, total in expected.items() if tally in totals(first)}
    assert sum(totals(first).values()) == sum(expected.values())


async def test_a_refusal_is_an_outcome_and_never_asked_again(
    theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours
) -> None:
    tally = uuid4()
    await theirs.append(tally, 0, [uuid4(), uuid4()], [Counted(LIMIT - 1), Counted(1)])
    [big, small] = await everything(theirs)
    await ours.reactor.process(await published(theirs, broker, region))
    assert sorted(await ours.ledger()) == sorted([
        (big.id, "count", "done", ""),
        (big.id, "count again", "refused", "too-much"),
        (small.id, "count", "done", ""),
        (small.id, "count again", "refused", "too-much"),
    ])  # fmt: skip
    assert await ours.aside() == []
    assert totals(await everything(ours.log)) == {derive_id("echo", tally): LIMIT}


async def test_a_refusal_is_logged_on_the_journey_that_led_to_it(
    theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours
) -> None:
    journey = Metadata(correlation_id="journey")
    await theirs.append(uuid4(), 0, [uuid4()], [Counted(LIMIT + 1)], metadata=journey)
    with capture_logs([logs.name_journey]) as lines:
        await ours.reactor.process(await published(theirs, broker, region))
    refused = [line["correlation_id"] for line in lines if line["event"] == "reaction refused"]
    assert refused == ["journey", "journey"]
    assert logs.correlation_id() == ""


async def test_why_it_was_done_is_recorded(theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours) -> None:
    await theirs.append(uuid4(), 0, [uuid4()], [Counted(1)])
    [cause] = await everything(theirs)
    await ours.reactor.process(await published(theirs, broker, region))
    for event in await everything(ours.log):
        assert event.metadata.causation_id == str(cause.id)
        assert event.metadata.correlation_id == str(cause.id)
        assert event.metadata.actor == "reaction:echo"


POISON: dict[str, Event] = {
    "react raises": Counted(1, "react fails"),
    "the command cannot be decided": Counted(1, "decide fails"),
    "the event is unknown": FromTheFuture(),
}


@pytest.mark.parametrize("split", [0, 8, 9, 20])
@pytest.mark.parametrize("what", POISON)
async def test_a_poison_reaction_holds_back_its_own_aggregate_and_no_other(
    theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours, what: str, split: int
) -> None:
    ill, well = uuid4(), uuid4()
    for version in range(10):
        await theirs.append(ill, version, [uuid4()], [POISON[what] if version == 4 else Counted(1)])
        await theirs.append(well, version, [uuid4()], [Counted(1)])
    batch = await published(theirs, broker, region)
    for part in (batch[:split], batch[split:]):
        if part:
            await ours.reactor.process(part)
    assert totals(await everything(ours.log)) == {derive_id("echo", ill): 8, derive_id("echo", well): 20}
    assert await ours.aside() == [9, 11, 13, 15, 17, 19]
    assert await ours.reactor.checkpoint.position() == 20


async def test_what_was_set_aside_is_reacted_to_in_order_once_the_fault_is_mended(
    theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours
) -> None:
    tally = UUID(int=1)
    events = [TallyOpened(), Counted(1), Counted(2, "react fails"), Counted(3)]
    await theirs.append(tally, 0, [uuid4() for _ in events], events)
    await count_up(theirs, 5)
    await ours.reactor.process(await published(theirs, broker, region))
    connection = await ours.reactor.checkpoint.connection.get()
    assert await ours.reactor.retry(connection, str(tally)) == 2

    async def mended(facts: Sequence[RecordedEvent[Any]], _: Any) -> list[list[Wish]]:
        return [[Wish(TALLY, echo(fact), CountUp(fact.event.by), "count")] for fact in facts]

    for _ in range(2):
        assert await Reactor(ours.reactor.checkpoint, CODEC, mended, ours.log).retry(connection, str(tally)) == 0
    assert totals(await everything(ours.log))[derive_id("echo", tally)] == 2 + 2 + 3  # the first was counted twice
    assert await ours.aside() == []


async def test_a_crash_between_the_commands_and_the_ledger_does_nothing_twice(
    theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours
) -> None:
    await count_up(theirs, 40, tallies=4)
    batch = await published(theirs, broker, region)
    connection = await ours.reactor.checkpoint.connection.get()
    await ours.set_checkpoint(0)
    owner = await asyncpg.connect(ours.region.owner_url)
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("lock table reaction in share row exclusive mode")  # the commands are done, the ledger waits
    processing = asyncio.create_task(ours.reactor.process(batch))
    await eventually(lambda: _head_is(ours.log, 80 - 4 * 2 + 4))
    connection.terminate()
    with pytest.raises(Exception, match="connection"):
        await processing
    await transaction.rollback()
    await owner.close()
    assert await ours.ledger() == []
    before = await everything(ours.log)

    await ours.reactor.process(batch)
    assert await everything(ours.log) == before
    assert len(await ours.ledger()) == 2 * (40 - 4)


async def _head_is(log: EventLog, position: int) -> None:
    assert await log.head() == position


async def test_contention_is_tried_again_and_sets_nothing_aside(
    theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours
) -> None:
    async def into_one(facts: Sequence[RecordedEvent[Any]], _: Any) -> list[list[Wish]]:
        return [[Wish(TALLY, UUID(int=1), CountUp(1), "count")] for _ in facts]

    ours.reactor = Reactor(ours.reactor.checkpoint, CODEC, into_one, ours.log)
    await count_up(theirs, 24, tallies=24)
    batch = await published(theirs, broker, region)

    async def done() -> None:
        await ours.reactor.process(batch)

    await eventually(done, retry=Exception)
    assert totals(await everything(ours.log)) == {UUID(int=1): 24}
    assert await ours.aside() == []


async def test_after_a_silence_of_postgres_nobody_goes_on_with_the_same_connection(
    theirs: EventLog, broker: Client, region: TallyRegion, ours: Ours
) -> None:
    async def hang(_: Sequence[RecordedEvent[Any]], __: Any) -> list[list[Wish]]:
        raise TimeoutError

    checkpoint = ours.reactor.checkpoint
    await count_up(theirs, 1)
    batch = await published(theirs, broker, region)
    before = await checkpoint.connection.get()
    with pytest.raises(TimeoutError):
        await Reactor(checkpoint, CODEC, hang, ours.log).process(batch)
    silent = await checkpoint.connection.get()
    assert silent is not before
    owner = await asyncpg.connect(ours.region.owner_url)
    async with owner.transaction():
        await owner.execute("lock table checkpoint")
        await silent.execute("set lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await checkpoint.position()
    await owner.close()
    assert await checkpoint.connection.get() is not silent


async def test_a_killed_postgres_makes_nothing_happen_twice_or_never(
    theirs: EventLog, broker: Client, region: TallyRegion, own_postgres: Callable[[], Server]
) -> None:
    server = own_postgres()
    ours = await ours_in(await tally_region(server.url), region.stream)
    await count_up(theirs, 400, tallies=20)
    batch = await published(theirs, broker, region)
    processing = asyncio.create_task(ours.reactor.process(batch))
    await eventually(lambda: _beyond(ours.log, 50))
    await asyncio.to_thread(server.kill)
    with pytest.raises((Unavailable, *UNREACHABLE)):
        await processing
    await asyncio.to_thread(server.start)
    await eventually(lambda: ours.reactor.process(batch), retry=(Unavailable, *UNREACHABLE))
    assert sum(totals(await everything(ours.log)).values()) == 2 * sum(totals(await everything(theirs)).values())
    assert await ours.aside() == []
    assert await ours.reactor.checkpoint.position() == 400
    ours.reactor.checkpoint.connection.drop()
    await ours.log.stop()
    await asyncio.to_thread(server.kill)


async def _beyond(log: EventLog, position: int) -> None:
    assert await log.head() > position
