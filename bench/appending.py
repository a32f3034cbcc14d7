"""Events appended: our log with 64 concurrent writers of one event, against the `eventsourcing` package at 8 writers
and bare asyncpg single-row inserts at 32 connections; the same JSON, every commit durable."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from rembuk.contracts.reports import CODEC
from rembuk.events.event import Metadata
from rembuk.log.event_log import EventLog

from bench.work import EVENT, Figures, Result, Servers, sized

DATA = CODEC.encode(EVENT)
OURS, PACKAGE, BARE = sized((40_000, 2_000, 24_000), tiny=(640, 80, 320))
"""How many events each appends."""


def run(servers: Servers, runs: int) -> list[Result]:
    ours = Figures("Rembuk, 64 writers", "events/s")
    package = Figures("(b) eventsourcing, 8 writers", "events/s")
    bare = Figures("(c) bare asyncpg, 32 connections", "events/s")
    log_url, package_url, bare_url = (servers.database() for _ in range(3))
    for _ in range(runs):
        ours.runs.append(uvloop.run(_log(log_url, 64, OURS)))
        package.runs.append(_package(package_url, 8, PACKAGE))
        bare.runs.append(uvloop.run(_bare(bare_url, 32, BARE)))
    result = Result("append", ours, [package, bare])
    result.at_least(20, package)
    result.at_least(1.5, bare)
    return [result]


async def _log(url: str, writers: int, events: int) -> float:
    log = EventLog(url, CODEC)
    await log.start()
    metadata = Metadata(correlation_id=str(uuid4()))

    async def write() -> None:
        for _ in range(events // writers):
            await log.append(uuid4(), 0, [uuid4()], [EVENT], EVENT.area, metadata)

    started = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    elapsed = time.perf_counter() - started
    await log.stop()
    return events / elapsed


def _package(url: str, writers: int, events: int) -> float:
    parts = urlsplit(url)
    datastore = PostgresDatastore(
        parts.path[1:], parts.hostname or "", parts.port or 5432, parts.username or "", parts.password or "",
        pool_size=writers,
    )  # fmt: skip
    with datastore:
        recorder = PostgresApplicationRecorder(datastore)
        recorder.create_table()

        def write(_: int) -> None:
            for _ in range(events // writers):
                recorder.insert_events([StoredEvent(uuid4(), 1, "ProblemReported", DATA)])

        started = time.perf_counter()
        with ThreadPoolExecutor(writers) as threads:
            list(threads.map(write, range(writers)))
        return events / (time.perf_counter() - started)


async def _bare(url: str, connections: int, events: int) -> float:
    pool = await asyncpg.create_pool(url, min_size=connections, max_size=connections)
    await pool.execute(
        "create table if not exists bare_event (id uuid primary key, stream_id uuid not null, version int not null, "
        "type text not null, data json not null, recorded_at timestamptz not null default now())"
    )
    data = DATA.decode()

    async def write() -> None:
        async with pool.acquire() as connection:
            for _ in range(events // connections):
                await connection.execute(
                    "insert into bare_event (id, stream_id, version, type, data) values ($1, $2, 1, $3, $4)",
                    uuid4(), uuid4(), "ProblemReported", data,
                )  # fmt: skip

    started = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(connections)))
    elapsed = time.perf_counter() - started
    await pool.close()
    return events / elapsed
