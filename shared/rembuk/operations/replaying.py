"""Replay: what happened to one aggregate, and what the read model made of it after each event.

The events are projected once more, by the service's own code and SQL, into temporary tables that nobody else sees
and that end with the transaction; so nothing is changed, sent or reacted to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Table

from rembuk import tracing
from rembuk.events.codec import Codec
from rembuk.events.event import RecordedEvent
from rembuk.events.rows import COLUMNS, recorded
from rembuk.flow.projector import Project
from rembuk.postgres import bulk
from rembuk.postgres.database import connect

SHOWN = 20
"""Rows of one table that are told; of an alert's thousands of deliveries the first will do."""

LAST = 2**63 - 1
"""No log has a position beyond that."""

_EVENTS = f"""select {COLUMNS} from log.event
              where stream_id = $1 and ($2::bigint is null or position <= $2)
                and ($3::timestamptz is null or recorded_at <= $3)
              order by version"""  # noqa: S608


class Step(msgspec.Struct, frozen=True):
    """An event, and the rows as they were after it: table → its rows as JSON objects, tables without one left out."""

    event: RecordedEvent[Any]
    state: dict[str, msgspec.Raw]


async def replay(
    owner_url: str,
    codec: Codec,
    project: Project,
    tables: Sequence[Table],
    stream: str,
    stream_id: UUID,
    as_of: int | datetime | None = None,
) -> AsyncIterator[Step]:
    """The steps of one aggregate of `stream` up to a position of its log or a moment; none for an unknown one.

    Raises Undecodable, what `project` raises, and what `rembuk.postgres.database.UNREACHABLE` lists.
    """
    position = min(as_of, LAST) if isinstance(as_of, int) else None
    moment = as_of if isinstance(as_of, datetime) else None
    connection = await connect(owner_url, "replay")
    try:
        await connection.execute("begin isolation level repeatable read")
        for table in tables:
            await connection.execute(f"create temp table {table.name} (like public.{table.name} including all)")
        for row in await connection.fetch(_EVENTS, stream_id, position, moment):
            fact = recorded(codec, row)
            with tracing.batch("replay", stream, [tracing.About.fact(fact)]):
                await bulk.execute(connection, bulk.grouped([(stream_id, project(fact))]))
            state = {}
            for table in tables:
                query = f"select json_agg(one) from (select * from {table.name} limit {SHOWN}) as one"  # noqa: S608
                if rows := await connection.fetchval(query):
                    state[table.name] = msgspec.Raw(rows.encode())
            yield Step(fact, state)
    finally:
        connection.terminate()
