"""Log to fsynced stream, and stream to rows: our relay against bare nats-py publishes at 64 in flight, our projector
through FastStream against bare nats-py fetches with the same upsert."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import nats
import uvloop
from faststream.nats import NatsBroker
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from rembuk.broker import nats_wire, streams
from rembuk.broker.stream_names import stream_name, subject_prefix
from rembuk.contracts.reports import CODEC, ProblemReported
from rembuk.events.event import Metadata, RecordedEvent
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.following import Follower
from rembuk.flow.projector import Projector
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.process.cancelling import cancel
from reports import projection
from reports.tables import metadata as tables
from sqlalchemy.ext.asyncio import create_async_engine

from bench.work import EVENT, Figures, Result, Servers, sized

EVENTS = sized(50_000, tiny=1_000)
PUBLISHED_BY_PEER = sized(10_000, tiny=500)
STREAM, PEER = stream_name("bench", "reports"), stream_name("bench", "peer")


def run(servers: Servers, runs: int) -> list[Result]:
    url = servers.database()
    uvloop.run(_fill(url))
    relay = Figures("Rembuk relay", "events/s")
    publish = Figures("(d) bare nats-py publish, 64 in flight", "events/s")
    project = Figures("Rembuk projector", "events/s")
    fetch = Figures("(e) bare nats-py fetch + upsert", "events/s")
    for _ in range(runs):
        relay.runs.append(uvloop.run(_relay(url, servers.nats_url)))
        publish.runs.append(uvloop.run(_publish(url, servers.nats_url)))
        project.runs.append(uvloop.run(_project(url, servers.nats_url)))
        fetch.runs.append(uvloop.run(_fetch(url, servers.nats_url)))
    relayed, projected = Result("relay", relay, [publish]), Result("projector catch-up", project, [fetch])
    relayed.at_least(4, publish)
    projected.at_least(0.7, fetch)
    projected.over(10_000)
    return [relayed, projected]


async def _fill(url: str) -> None:
    log = EventLog(url, CODEC)
    await log.start()

    async def write() -> None:
        for _ in range(EVENTS // 250):
            await log.append(uuid4(), 0, [uuid4()], [EVENT], EVENT.area, Metadata(correlation_id=str(uuid4())))

    await asyncio.gather(*(write() for _ in range(250)))
    await log.stop()
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.run_sync(tables.create_all)
    await engine.dispose()


async def _forget(jetstream: JetStreamContext, name: str) -> None:
    with suppress(nats.js.errors.NotFoundError):
        await jetstream.delete_stream(name)


async def _relay(url: str, nats_url: str) -> float:
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    await _forget(jetstream, STREAM)
    started = time.perf_counter()
    relaying = asyncio.create_task(Relay(url, client, "bench", "reports").run())
    while True:
        await asyncio.sleep(0.02)
        with suppress(nats.js.errors.NotFoundError):
            if (await jetstream.stream_info(STREAM)).state.last_seq == EVENTS:
                break
    elapsed = time.perf_counter() - started
    await cancel([relaying])
    await client.close()
    return EVENTS / elapsed


async def _publish(url: str, nats_url: str) -> float:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select * from log.event order by position limit $1", PUBLISHED_BY_PEER)
    await connection.close()
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    await _forget(jetstream, PEER)
    await jetstream.add_stream(streams.stream_config("bench", "peer"))
    messages = [
        (
            row["data"].encode(),
            nats_wire.parse_header_lines(
                streams.published_lines(streams.header_lines("bench", "reports", row)).encode()
            ),
        )
        for row in rows
    ]
    in_flight = asyncio.Semaphore(64)

    async def publish(data: bytes, header: Any) -> None:
        async with in_flight:
            await jetstream.publish("polmas.bench.peer.ProblemReported.35.78.08", data, headers=header, timeout=30)

    started = time.perf_counter()
    await asyncio.gather(*(publish(*message) for message in messages))
    elapsed = time.perf_counter() - started
    await _forget(jetstream, PEER)
    await client.close()
    return PUBLISHED_BY_PEER / elapsed


async def _clean(url: str) -> asyncpg.Connection[Any]:
    connection = await asyncpg.connect(url)
    await connection.execute("truncate problem, checkpoint")
    return connection


async def _project(url: str, nats_url: str) -> float:
    connection = await _clean(url)
    broker = NatsBroker(nats_url, apply_types=False, logger=None)
    nats_wire.quicken(await broker.connect())
    projector = Projector(Checkpoint(url, "bench", STREAM), CODEC, projection.project)
    follower = Follower(broker, STREAM, "bench_projector", projector.checkpoint.position, projector.process)
    started = time.perf_counter()
    await follower.start()
    while await connection.fetchval("select coalesce(max(position), 0) from checkpoint") < EVENTS:
        await asyncio.sleep(0.02)
    elapsed = time.perf_counter() - started
    assert await connection.fetchval("select count(*) from problem") == EVENTS
    await follower.stop()
    await broker.stop()
    projector.checkpoint.connection.drop()
    await connection.close()
    return EVENTS / elapsed


def _said(position: int, id: str, subject: str, version: int, at: datetime, event: ProblemReported) -> tuple[Any, ...]:
    """What a message says, in the types of rows."""
    return position, UUID(id), UUID(subject), version, at, *msgspec.structs.astuple(event)


def _columns() -> list[tuple[int | None, Any]]:
    """What stands in each column of the projection's row: where in what the message says, or always the same value.
    Read off the row that the projection makes of a sample, so that a column more needs no word here."""
    sample = RecordedEvent(-1, uuid4(), uuid4(), -2, EVENT.area, datetime.now(UTC), EVENT, Metadata())
    said = _said(
        sample.position, str(sample.id), str(sample.stream_id), sample.version, sample.recorded_at, sample.event
    )
    row = next(change.values for change in projection.project(sample) if change.statement is projection.ADD)
    return [(said.index(value) if value in said else None, value) for value in row]


async def _fetch(url: str, nats_url: str) -> float:
    connection = await _clean(url)
    await connection.execute("insert into checkpoint (follower, stream) values ('peer', 'peer')")
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    subscription = await jetstream.pull_subscribe(
        f"{subject_prefix('bench', 'reports')}.>", durable="peer", stream=STREAM,
        config=ConsumerConfig(ack_policy=AckPolicy.ALL, max_ack_pending=20_000),
    )  # fmt: skip
    decode = msgspec.json.Decoder(ProblemReported).decode
    columns = _columns()
    done = 0
    started = time.perf_counter()
    while done < EVENTS:
        messages = await subscription.fetch(min(500, EVENTS - done), timeout=5)
        rows = []
        for message in messages:
            header = message.headers or {}
            event = decode(message.data)
            at = datetime.fromisoformat(header["ce-time"])
            position = message.metadata.sequence.stream
            said = _said(position, header["ce-id"], header["ce-subject"], int(header["ce-version"]), at, event)
            rows.append([value if place is None else said[place] for place, value in columns])
        async with connection.transaction():
            await connection.execute(projection.ADD.sql, *map(list, zip(*rows, strict=True)))
            await connection.execute("update checkpoint set position = $1 where follower = 'peer'", position)
        await messages[-1].ack()
        done += len(messages)
    elapsed = time.perf_counter() - started
    assert await connection.fetchval("select count(*) from problem") == EVENTS
    await jetstream.delete_consumer(STREAM, "peer")
    await client.close()
    await connection.close()
    return EVENTS / elapsed
