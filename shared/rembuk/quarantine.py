"""Poison events set aside: one bad event stops its own aggregate for one follower, and nobody else."""

from __future__ import annotations

import traceback
from typing import Any

import asyncpg
import msgspec
import structlog
from nats.aio.msg import Msg
from prometheus_client import Counter

from rembuk.checkpoints import Checkpoint
from rembuk.streams import sequence

_HELD = "select distinct stream_id from quarantine where follower = $1 and stream = $2"
_ADD = """insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
          values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing"""

_log = structlog.get_logger(__name__)
_quarantined = Counter("rembuk_quarantined_events_total", "Events set aside", ["follower"])


def aggregate_of(message: Msg) -> str:
    """The aggregate a message says it is about; a message that names none is an aggregate of its own."""
    return _text((message.headers or {}).get("ce-subject", "")) or f"sequence {sequence(message)}"


def _text(value: str) -> str:
    """As PostgreSQL can hold it: what has gone wrong before may well have a NUL in it."""
    return value.replace("\0", "\\0")


async def held(connection: asyncpg.Connection[Any], checkpoint: Checkpoint) -> set[str]:
    """The aggregates that this follower has in quarantine."""
    return {row["stream_id"] for row in await connection.fetch(_HELD, checkpoint.follower, checkpoint.stream)}


async def set_aside(
    connection: asyncpg.Connection[Any], checkpoint: Checkpoint, message: Msg, error: Exception | None
) -> None:
    """Keep a message with the reason: its error, or (None) that an earlier one of its aggregate is held."""
    reason = "".join(traceback.format_exception(error)) if error else "behind an event in quarantine"
    header = message.headers or {}
    await connection.execute(
        _ADD, checkpoint.follower, checkpoint.stream, sequence(message), aggregate_of(message),
        _text(header.get("ce-type", "")), _text(reason), msgspec.json.encode(header).decode(), message.data,
    )  # fmt: skip
    _quarantined.labels(checkpoint.follower).inc()
    if error is not None:
        _log.error(
            "event quarantined", follower=checkpoint.follower, stream=checkpoint.stream,
            position=sequence(message), aggregate=aggregate_of(message), error=repr(error),
        )  # fmt: skip
