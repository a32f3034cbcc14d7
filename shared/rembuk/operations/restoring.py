"""Restore: a log that is lost, or older than what was published, is brought to where a copy of it ends: its stream, the
hub's mirror, or an export.

Every event keeps its id, position, version and time, so streams, checkpoints and receipts go on as they were. It is
one transaction: all of it, or nothing. What was never published is not in it: see docs/decisions/0012.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from nats.aio.client import Client
from nats.aio.msg import Msg

from rembuk import tracing
from rembuk.broker import streams
from rembuk.broker.stream_names import stream_name
from rembuk.events.codec import Codec, Undecodable
from rembuk.events.rows import COLUMNS
from rembuk.flow.checkpoints import Checkpoint
from rembuk.log.sources import Exhausted, Source, ahead
from rembuk.operations.steps import RestorationStep, Restored, Restoring
from rembuk.postgres.database import connect
from rembuk.sealing import missing_keys

PAGE = 500

_HEAD = "select position, recorded_at from log.head for update"
_AT = f"select {COLUMNS} from log.event where position = $1"  # noqa: S608 - our own names
_MOVE_HEAD = "update log.head set position = $1, recorded_at = $2"
_REACTED = """insert into checkpoint (follower, stream, recorded_at) values ($1, $2, $3)
              on conflict (follower, stream) do update
              set recorded_at = greatest(checkpoint.recorded_at, excluded.recorded_at)"""


class CannotRestore(Exception):
    """Why nothing was done, and what to do."""


async def restore(
    owner_url: str,
    region: str,
    service: str,
    source: Source,
    last: int,
    reactors: Sequence[Checkpoint],
    codec: Codec,
) -> AsyncIterator[RestorationStep]:
    """Add what `source` holds, up to its `last` position, to a log that is empty or ends before it.

    What was recorded by other services until then counts as reacted to by `reactors`: an answer that was given is in
    the log, one that was refused shall not be weighed again. Whose keys did not come with it is noted. Raises
    CannotRestore, and what `source` and
    `rembuk.postgres.database.UNREACHABLE` raise; then nothing has changed.
    """
    stream = stream_name(region, service)
    connection = await connect(owner_url, "restore")
    try:
        async with connection.transaction():
            head, moment = await connection.fetchrow(_HEAD, timeout=None)  # type: ignore[misc]
            moment = moment.replace(tzinfo=UTC)  # asyncpg's -infinity, that of an empty log, has none
            await _same_beginning(connection, region, service, source, min(head, last))
            position = head
            async with ahead(source, head, last, PAGE) as pages:
                async for messages in pages:
                    rows = [_row(region, service, message) for message in messages]
                    moment = _in_order(rows, position, moment)
                    with tracing.batch("restore", stream, map(streams.about, messages)):
                        await _add(connection, rows)
                    position = rows[-1]["position"]
                    yield Restoring(position, last)
            if last > head:
                await connection.execute(_MOVE_HEAD, last, moment)
                await missing_keys.note(connection, codec, head)
                await connection.executemany(_REACTED, [(*one.key, moment) for one in reactors])
                await connection.execute("notify event_log")
    except Exhausted as error:
        raise CannotRestore(f"it ends too early: {error}; take another copy") from error
    finally:
        connection.terminate()
    yield Restored(max(head, last), max(0, last - head))


async def end_of_stream(client: Client, stream: str) -> int:
    """The last position of a stream that has every event from the first. Raises CannotRestore, nats.js.errors.Error."""
    state = (await client.jetstream().stream_info(stream)).state
    if state.messages != state.last_seq:
        raise CannotRestore(
            f"{stream} is not whole: it holds {state.messages} of {state.last_seq} events; restore from an export or "
            "a backup"
        )
    return state.last_seq


async def _same_beginning(
    connection: asyncpg.Connection[Any], region: str, service: str, source: Source, position: int
) -> None:
    """What log and source both have, they have alike: then the last event of it is the same."""
    if position == 0:
        return
    messages = await source.after(position - 1, 1)
    if not messages:
        raise CannotRestore(f"it does not hold position {position}, where the log stands")
    theirs, ours = _row(region, service, messages[0]), await connection.fetchrow(_AT, position)
    if ours is None or theirs["id"] != ours["id"]:
        raise CannotRestore(
            f"the log's event at position {position} is another: it went on by itself after it was lost. Restore into "
            "a database that has accepted nothing since"
        )


def _row(region: str, service: str, message: Msg) -> dict[str, Any]:
    try:
        return streams.row(region, service, message)
    except Undecodable as error:
        raise CannotRestore(
            f"at position {streams.sequence(message)} there is no event of {service} of {region}: {error}"
        ) from error


def _in_order(rows: Sequence[dict[str, Any]], position: int, moment: datetime) -> datetime:
    """The last event's time, after making sure that nothing is missing behind `position`, and time runs forwards."""
    for expected, row in enumerate(rows, position + 1):
        if row["position"] != expected:
            raise CannotRestore(f"position {expected} is missing: it goes on at {row['position']}; take another copy")
        if row["recorded_at"] < moment:
            raise CannotRestore(f"position {row['position']} is older than the one before it")
        moment = row["recorded_at"]
    return moment


async def _add(connection: asyncpg.Connection[Any], rows: Sequence[dict[str, Any]]) -> None:
    try:
        await connection.copy_records_to_table(
            "event", schema_name="log", columns=list(rows[0]), records=[tuple(row.values()) for row in rows]
        )
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        raise CannotRestore(
            f"positions {rows[0]['position']} to {rows[-1]['position']} hold what no log does: {error}"
        ) from error
