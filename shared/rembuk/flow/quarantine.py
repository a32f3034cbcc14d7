"""Poison events set aside: one bad event stops its own aggregate for one follower, and nobody else."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
import structlog
from nats.aio.msg import Msg

from rembuk import tracing
from rembuk.broker.streams import sequence, stored_message
from rembuk.flow.checkpoints import Checkpoint

_HELD = "select distinct stream_id from quarantine where follower = $1 and stream = $2"
_ADD = """insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
          values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing"""

_WAITING = """select position, headers, data from quarantine
              where follower = $1 and stream = $2 and stream_id = $3 order by position"""
_STILL = "update quarantine set error = $4 where follower = $1 and stream = $2 and position = $3"
_RELEASE = "delete from quarantine where follower = $1 and stream = $2 and position = any($3)"
_SKIP = """with gone as (delete from quarantine where follower = $1 and stream = $2 and position = $3 returning *)
           insert into skipped (follower, stream, position, stream_id, type, error, headers, data, quarantined_at, why,
                                by_whom)
           select follower, stream, position, stream_id, type, error, headers, data, quarantined_at, $4, $5 from gone
           on conflict (follower, stream, position) do update
           set why = excluded.why, by_whom = excluded.by_whom, skipped_at = now()
           returning true"""

_log = structlog.get_logger(__name__)


def aggregate_of(message: Msg) -> str:
    """The aggregate a message says it is about; a message that names none is an aggregate of its own."""
    return _text((message.headers or {}).get("ce-subject", "")) or f"sequence {sequence(message)}"


def _text(value: str) -> str:
    """As PostgreSQL can hold it: what has gone wrong before may well have a NUL in it."""
    return value.replace("\0", "\\0")


def _traceback(error: Exception) -> str:
    return _text("".join(traceback.format_exception(error)))


async def held(connection: asyncpg.Connection[Any], checkpoint: Checkpoint) -> set[str]:
    """The aggregates that this follower has in quarantine."""
    return {row["stream_id"] for row in await connection.fetch(_HELD, checkpoint.follower, checkpoint.stream)}


async def set_aside(
    connection: asyncpg.Connection[Any], checkpoint: Checkpoint, message: Msg, error: Exception | None
) -> None:
    """Keep a message with the reason: its error, or (None) that an earlier one of its aggregate is held."""
    reason = _traceback(error) if error else "behind an event in quarantine"
    header = message.headers or {}
    await connection.execute(
        _ADD, checkpoint.follower, checkpoint.stream, sequence(message), aggregate_of(message),
        _text(header.get("ce-type", "")), reason, msgspec.json.encode(header).decode(), message.data,
    )  # fmt: skip
    if error is not None:
        tracing.blame(sequence(message), error)
        _log.error(
            "event quarantined", follower=checkpoint.follower, stream=checkpoint.stream,
            position=sequence(message), aggregate=aggregate_of(message), error=repr(error),
            correlation_id=header.get("ce-correlationid", ""),
        )  # fmt: skip


async def hold_still(connection: asyncpg.Connection[Any]) -> None:
    """Have no batch add anything until the transaction ends."""
    await connection.execute("lock table quarantine in access exclusive mode")


async def waiting(connection: asyncpg.Connection[Any], checkpoint: Checkpoint, aggregate: str) -> list[Msg]:
    """What is set aside of an aggregate, as the messages that it came in, in order."""
    rows = await connection.fetch(_WAITING, checkpoint.follower, checkpoint.stream, aggregate)
    return [
        stored_message(checkpoint.stream, row["position"], msgspec.json.decode(row["headers"]), row["data"])
        for row in rows
    ]


async def still(connection: asyncpg.Connection[Any], checkpoint: Checkpoint, message: Msg, error: Exception) -> None:
    """It was tried again in vain: keep it, with today's error."""
    tracing.blame(sequence(message), error)
    await connection.execute(_STILL, checkpoint.follower, checkpoint.stream, sequence(message), _traceback(error))


async def release(connection: asyncpg.Connection[Any], checkpoint: Checkpoint, messages: Sequence[Msg]) -> None:
    """They are done."""
    positions = [sequence(message) for message in messages]
    await connection.execute(_RELEASE, checkpoint.follower, checkpoint.stream, positions)


async def skip(
    connection: asyncpg.Connection[Any], checkpoint: Checkpoint, position: int, why: str, by_whom: str
) -> bool:
    """Take one event out unread, for good, and keep why; whether it was there."""
    return bool(await connection.fetchval(_SKIP, checkpoint.follower, checkpoint.stream, position, why, by_whom))
