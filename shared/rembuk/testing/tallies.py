"""A toy domain, tallies that are counted up, with a database of its own: the kernel is told with it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, Uuid

from rembuk.broker import nats_wire
from rembuk.broker.connecting import broker
from rembuk.broker.stream_names import stream_name, subject_prefix
from rembuk.broker.streams import recorded, stream_config
from rembuk.events.codec import Codec
from rembuk.events.decider import Decider, Refused
from rembuk.events.event import Event, RecordedEvent
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.following import Follower
from rembuk.flow.projector import Projector
from rembuk.log.event_log import EventLog
from rembuk.postgres import kernel_versions
from rembuk.postgres.bulk import Change, add_to, change, insert_into, update
from rembuk.postgres.database import UNREACHABLE, Unavailable
from rembuk.postgres.migrations import GRANTS
from rembuk.postgres.provisioning import provision
from rembuk.process.cancelling import cancel
from rembuk.testing.patience import NOT_YET

T = TypeVar("T")
SERVICE = "tallies"
FOLLOWER = "projection"


class TallyOpened(Event, frozen=True):
    """A tally stands at zero."""

    area: str = ""


class Counted(Event, frozen=True):
    """The tally grew. A `note` of "poison" is more than the projection can bear."""

    by: int
    note: str = ""


TallyEvent = TallyOpened | Counted
CODEC = Codec((TallyOpened, Counted))


@dataclass(frozen=True)
class Tally:
    """How much was counted; None before it was opened."""

    total: int | None = None
    area: str = ""


@dataclass(frozen=True)
class CountUp:
    """Count up in equal parts (0: do nothing), opening the tally where need be; refused beyond `at_most`."""

    by: int
    parts: int = 1
    at_most: int = 1_000_000
    area: str = ""


def decide(command: CountUp, tally: Tally) -> list[TallyEvent]:
    if (tally.total or 0) + command.by * command.parts > command.at_most:
        raise Refused("too-much", field="by")
    opened: list[TallyEvent] = [TallyOpened(command.area)] if tally.total is None and command.parts else []
    return [*opened, *[Counted(command.by)] * command.parts]


def evolve(tally: Tally, event: TallyEvent) -> Tally:
    match event:
        case TallyOpened():
            return Tally(0, event.area)
        case Counted():
            return Tally((tally.total or 0) + event.by, tally.area)


TALLY: Decider[CountUp, Tally, TallyEvent] = Decider(Tally(), decide, evolve, lambda tally: tally.area)

tally_table = Table(
    "tally",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)
_TALLY_SQL = """create table tally (id uuid primary key, version integer not null, total bigint not null
                check (total < 1000000), note text not null)"""

ADD = insert_into(tally_table, "id", "version", "total", "note")
SUM = add_to(tally_table, "total")
LAST = update(tally_table, "version", "note")


def project(fact: RecordedEvent[TallyEvent]) -> Sequence[Change]:
    """Sums are added to, so that an event projected twice shows; the last version and note are kept."""
    match fact.event:
        case TallyOpened():
            return (change(ADD, id=fact.stream_id, version=fact.version, total=0, note=""),)
        case Counted() as event:
            if event.note.startswith("poison"):
                raise ValueError(f"cannot bear {event.note}")
            total: Any = "not a number" if event.note == "wrong type" else event.by
            return (
                change(SUM, id=fact.stream_id, total=total),
                change(LAST, id=fact.stream_id, version=fact.version, note=event.note),
            )


@dataclass(frozen=True)
class TallyRegion:
    """A region of one service, `tallies`, made for one test."""

    name: str
    role: str
    owner_url: str
    url: str

    @property
    def stream(self) -> str:
        return stream_name(self.name, SERVICE)

    @property
    def consumer(self) -> str:
        return f"{self.role}_{FOLLOWER}"

    @property
    def prefix(self) -> str:
        return subject_prefix(self.name, SERVICE)


async def tally_region(admin_url: str) -> TallyRegion:
    """A region with a new database, which takes PostgreSQL a good while: `renewed` is quicker."""
    database = await provision(admin_url, "t" + secrets.token_hex(5), SERVICE, "test")
    return await renewed(TallyRegion("", database.role, database.owner_url, database.service_url))


async def renewed(region: TallyRegion) -> TallyRegion:
    """The same database with the kernel's tables made anew, granted as a service's migrations do it, under another
    region's name, hence with another stream."""
    owner = await asyncpg.connect(region.owner_url, timeout=10)
    try:
        async with owner.transaction():
            await owner.execute("drop schema if exists log, public cascade; create schema public")
            await owner.execute(kernel_versions.creating())
            await owner.execute(f"{_TALLY_SQL}; create table alembic_version ()")
            await owner.execute(GRANTS.format(role=region.role))
    finally:
        await owner.close()
    return replace(region, name="t" + secrets.token_hex(5))


async def everything(log: EventLog, known: Sequence[RecordedEvent[Any]] = ()) -> list[RecordedEvent[Any]]:
    """The whole log, page by page, of which so much is known."""
    events = [*known]
    while page := await log.read(len(events), 500):
        events += page
    return events


def rows_of(events: Sequence[RecordedEvent[Any]]) -> dict[UUID, tuple[int, int, str]]:
    """What the table `tally` has to show after `events`: version, total and last note of each."""
    rows: dict[UUID, tuple[int, int, str]] = {}
    for fact in events:
        _, total, _ = rows.get(fact.stream_id, (0, 0, ""))
        by, note = (fact.event.by, fact.event.note) if isinstance(fact.event, Counted) else (0, "")
        rows[fact.stream_id] = (fact.version, total + by, note)
    return rows


async def eventually(check: Callable[[], Awaitable[T]], within: float = 20.0, retry: Any = NOT_YET) -> T:
    """Await `check` until it raises no `retry` error, at most `within` seconds. Between two calls it leaves the
    processors to what it waits for, for as long as a call takes them."""
    deadline = time.monotonic() + within
    while True:
        begun = time.monotonic()
        try:
            return await check()
        except retry:
            if (now := time.monotonic()) > deadline:
                raise
            await asyncio.sleep(min(max(0.02, now - begun), 0.5))


async def count_up(log: EventLog, events: int, tallies: int = 50, note: str = "") -> None:
    """Append `events` events to some new tallies, many at once."""
    ids = [uuid4() for _ in range(tallies)]
    shares = [len(range(n, events, tallies)) for n in range(tallies)]

    async def fill(tally: UUID, share: int) -> None:
        for version in range(0, share, 20):
            facts: list[TallyEvent] = [Counted(n, note) for n in range(version, min(version + 20, share))]
            if version == 0:
                facts[0] = TallyOpened("35.78")
            await log.append(tally, version, [uuid4() for _ in facts], facts, "35.78")

    await asyncio.gather(*(fill(tally, share) for tally, share in zip(ids, shares, strict=True) if share))


async def messages(client: Client, stream: str) -> list[Msg]:
    """All that a stream holds, in order, as a consumer gets it."""
    jetstream = client.jetstream()
    count = (await jetstream.stream_info(stream)).state.messages
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL)
    name = (await jetstream.add_consumer(stream, config)).name
    pull = await jetstream.pull_subscribe_bind(name, stream)
    found: list[Msg] = []
    while len(found) < count:
        found += await pull.fetch(min(500, count - len(found)), 5)
    await pull.unsubscribe()
    await jetstream.delete_consumer(stream, name)
    return found


async def forged(region: TallyRegion, client: Client, change: Callable[[int, dict[str, str], bytes], bytes]) -> None:
    """The stream made anew by somebody who may, each message as `change` would have it; it says what the data are."""
    held = await messages(client, region.stream)
    jetstream = client.jetstream()
    await jetstream.delete_stream(region.stream)
    await jetstream.add_stream(stream_config(region.name, SERVICE))
    for position, message in enumerate(held, 1):
        headers = dict(message.headers or {})
        for name in ("Nats-Expected-Last-Sequence", "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"):
            headers.pop(name, None)
        data = change(position, headers, message.data)
        await jetstream.publish(message.subject, data, headers=headers)


async def level(log: EventLog, client: Client, stream: str) -> None:
    """The stream holds the log: every event once, its sequence its position."""
    events = await everything(log)
    held = [recorded(CODEC, message) for message in await messages(client, stream)]
    assert [event.position for event in held] == list(range(1, len(held) + 1))
    assert [event.id for event in held] == [event.id for event in events]
    assert held == events


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `work` beside the block and cancels it at its end; what it failed with is raised there."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await cancel([task])
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def projecting(region: TallyRegion, nats_url: str, change_process: Any = None) -> AsyncIterator[None]:
    """A follower that projects the region's stream into the table `tally`, as a service's worker runs it.

    `change_process` may wrap what is done with a batch.
    """
    faststream = broker(nats_url, f"{region.name} followers")
    nats_wire.quicken(await faststream.connect())
    projector = Projector(Checkpoint(region.url, FOLLOWER, region.stream), CODEC, project)
    process = projector.process if change_process is None else change_process(projector.process)
    follower = Follower(faststream, region.stream, region.consumer, projector.checkpoint.position, process)
    try:
        async with background(follower.start()):
            yield
            await follower.stop()
    finally:
        await faststream.stop()
        projector.checkpoint.connection.drop()


async def rows(region: TallyRegion) -> dict[UUID, tuple[int, int, str]]:
    """The table `tally`: version, total and last note of each."""
    connection = await asyncpg.connect(region.url, timeout=5)
    try:
        found = await connection.fetch("select id, version, total, note from tally")
        return {row["id"]: (row["version"], row["total"], row["note"]) for row in found}
    finally:
        await connection.close()


async def shown(region: TallyRegion, log: EventLog) -> None:
    """Within 40 s the rows are what a fresh replay of the whole log would make of them."""

    events: list[RecordedEvent[Any]] = []

    async def check() -> None:
        nonlocal events
        events = await everything(log, events)
        assert await rows(region) == rows_of(events)

    await eventually(check, 40, (AssertionError, *UNREACHABLE, Unavailable))
