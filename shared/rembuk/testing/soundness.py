"""What must hold of a service whatever was killed: a dense log, a stream that is the log, rows that a replay makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from nats.aio.client import Client
from sqlalchemy import Table

from rembuk.broker import stream_names, streams
from rembuk.broker.stream_names import stream_name, subject_prefix
from rembuk.events.codec import Codec
from rembuk.events.event import RecordedEvent
from rembuk.log.event_log import EventLog
from rembuk.log.standing import last_position
from rembuk.operations import side_model
from rembuk.postgres import bulk
from rembuk.postgres.bulk import Change
from rembuk.testing.tallies import everything, messages

ODD_BATCH = 97
"""Events of a batch in a fresh replay: other batches than any follower had."""


@dataclass(frozen=True)
class Rows:
    """The rows that `follower` of a service makes of the stream of `source`; `own` columns are no event's."""

    service: str
    follower: str
    source: str
    codec: Codec
    project: Callable[[RecordedEvent[Any]], Sequence[Change]]
    tables: tuple[Table, ...]
    own: frozenset[str] = frozenset()


async def log_is_dense(log: asyncpg.Connection[Any]) -> list[asyncpg.Record]:
    """Positions, and versions in each stream, are 1, 2, 3 ..., and time does not run backwards; the whole log."""
    events: list[asyncpg.Record] = await log.fetch(
        "select position, id, stream_id, version, type, schema_version, area, data::text, metadata::text, recorded_at "
        "from log.event order by position"
    )
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    assert await last_position(log) == len(events)
    assert len({event["id"] for event in events}) == len(events)
    versions: dict[Any, int] = {}
    for event in events:
        assert event["version"] == versions.get(event["stream_id"], 0) + 1
        versions[event["stream_id"]] = event["version"]
    times = [event["recorded_at"] for event in events]
    assert times == sorted(times)
    return events


async def stream_is_the_log(broker: Client, region: str, service: str, events: Sequence[asyncpg.Record]) -> None:
    """Every event once, its sequence its position, its message id its id, subject, headers and data the log's."""
    held = await messages(broker, stream_name(region, service))
    assert len(held) == len(events)
    prefix = subject_prefix(region, service)
    for event, message in zip(events, held, strict=True):
        assert streams.sequence(message) == event["position"]
        assert message.headers is not None
        assert message.headers["Nats-Msg-Id"] == str(event["id"])
        assert message.data == event["data"].encode()
        assert message.subject == stream_names.subject(prefix, event["type"], event["area"])
        lines = streams.published_lines(streams.header_lines(region, service, event))
        said = dict(line.split(": ", 1) for line in lines.splitlines())
        assert {name: value for name, value in message.headers.items() if name in said} == said


async def rows_are_a_fresh_replays(owner: asyncpg.Connection[Any], rows: Rows, source: EventLog) -> None:
    """Replay the log of the source into tables of a schema of its own, and compare row by row. `source` runs."""
    await owner.execute("drop schema if exists replay cascade; create schema replay")
    for table in rows.tables:
        await owner.execute(f"create table replay.{table.name} (like public.{table.name} including all)")
    await owner.execute("set search_path = replay")
    events = await everything(source)
    for first in range(0, len(events), ODD_BATCH):
        batch = events[first : first + ODD_BATCH]
        await bulk.execute(owner, bulk.grouped((fact.stream_id, rows.project(fact)) for fact in batch))
    await owner.execute("reset search_path")
    for table in rows.tables:
        of_events = {column.name for column in table.columns if column.info != side_model.KEPT}
        columns = ", ".join(sorted(of_events - rows.own))
        shown, replayed = [
            await owner.fetch(f"select {columns} from {schema}.{table.name} order by id")
            for schema in ("public", "replay")
        ]
        wrong = [pair for pair in zip(shown, replayed, strict=False) if pair[0] != pair[1]]
        assert (len(shown), wrong[:3]) == (len(replayed), []), f"{table.name} as shown, and as a fresh replay has it"
    await owner.execute("drop schema replay cascade")
