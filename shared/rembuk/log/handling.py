"""How a wish becomes facts: read the stream, fold, decide, append; a retry returns the first outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from rembuk.events.decider import Decider, Refused
from rembuk.events.event import Event, Metadata, RecordedEvent
from rembuk.events.ids import event_id
from rembuk.keys.region_key import WrappedKey
from rembuk.log.event_log import AlreadyRecorded, EventLog, Together, VersionConflict

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E", bound=Event)

_ATTEMPTS = 8
_AT_ONCE = 2
"""Attempts that are made before one waits for one's turn at an aggregate."""
TURN_S = 5.0
"""How long a command waits for those before it."""
_fingerprint_encoder = msgspec.json.Encoder(order="sorted")


class KeyReused(Exception):
    """An idempotency key came back with another wish."""


class Contended(VersionConflict):
    """Too many want to change one aggregate at once; nothing was recorded, the same may be asked again."""


class VersionMismatch(Exception):
    """The caller acted on version `expected` of an aggregate that is at `actual`."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"expected version {expected}, but it is {actual}")
        self.expected, self.actual = expected, actual


class Outcome(msgspec.Struct, frozen=True):
    """What became of a command: the aggregate's version and the log position after it, and its last event's time.

    `repeated` tells that it had been handled before and nothing was added. A command that changes nothing
    (no new events) has `position` 0 for a stream that never was. What was added is promised `together` with what was
    recorded at the same time.
    """

    stream_id: UUID
    version: int
    position: int
    recorded_at: datetime | None
    repeated: bool = False
    together: Together | None = None

    async def promise(self, log: EventLog) -> str:
        """The promise that its last event, which `log` has, stands there. Raises Unavailable."""
        return self.together.promise(self.position) if self.together else await log.promise(self.position)


def fingerprint(command: object, key: str) -> str:
    """A 128-bit digest of a command's content (BLAKE2b), independent of key order.

    The client's idempotency key, which is not recorded, is part of it: whoever reads the log cannot confirm a guess
    at what was sealed or erased.
    """
    digest = blake2b(key.encode(), digest_size=16)
    digest.update(b"\x1f" + _fingerprint_encoder.encode(command))
    return digest.hexdigest()


async def handle(
    log: EventLog,
    decider: Decider[C, S, E],
    stream_id: UUID,
    command: C,
    key: UUID | str,
    metadata: Metadata,
    *,
    expected_version: int | None = None,
    new: bool = False,
    keys: Sequence[WrappedKey] = (),
) -> Outcome:
    """Let `decider` answer `command` for one stream and record its events.

    `key` makes it idempotent: event n gets the id UUIDv5(key, n), and a key met again returns the first outcome.
    `keys` of persons are kept in the vault if and as the events are recorded.
    `new` says that the stream id was made for this command, so nothing needs to be read first. Without
    `expected_version` a conflict with a concurrent command is decided anew on the newer state: after some attempts,
    or where others do so already, one after the other.
    Raises Refused (the domain), KeyReused, VersionMismatch, VersionConflict (an aggregate of another kind), Contended,
    EventTooLarge, Unavailable.
    """
    attempts = partial(_attempted, log, decider, stream_id, command, key, metadata, expected_version, new, keys)
    if new or stream_id not in log.turns:
        with suppress(Contended):
            return await attempts(_AT_ONCE)
    turn = log.turns.setdefault(stream_id, asyncio.Lock())
    try:
        await asyncio.wait_for(turn.acquire(), TURN_S)
    except TimeoutError:
        raise Contended(f"many change {stream_id} at once") from None
    try:
        return await attempts(_ATTEMPTS)
    finally:
        turn.release()


async def _attempted(
    log: EventLog, decider: Decider[C, S, E], stream_id: UUID, command: C, key: UUID | str, metadata: Metadata,
    expected_version: int | None, new: bool, keys: Sequence[WrappedKey], attempts: int,
) -> Outcome:  # fmt: skip
    """As `handle`, with so many attempts; raises Contended after them."""
    history: Sequence[RecordedEvent[Any]] = ()
    first_id = event_id(key)
    recorded = False
    for attempt in range(attempts):
        if attempt or not new:
            history = await log.read_stream(stream_id)
            before = next((index for index, event in enumerate(history) if event.id == first_id), None)
            if before is not None:
                return _first_outcome(history[before:], key, metadata)
            if recorded:
                raise KeyReused("this idempotency key was used before for another aggregate")
        if expected_version is not None and expected_version != len(history):
            raise VersionMismatch(expected_version, len(history))
        state, ours = _present(decider, history)
        try:
            events = decider.decide(command, state)
        except Refused:
            if new and not attempt:
                continue  # it may be a retry of what was allowed at first
            raise
        if not ours:
            raise VersionConflict(f"{stream_id} is an aggregate of another kind")
        if not events:
            last = history[-1] if history else None
            return Outcome(stream_id, len(history), last.position if last else 0, last.recorded_at if last else None)
        ids = [first_id, *(event_id(key, n) for n in range(1, len(events)))]
        area = decider.area_of(decider.fold(events, state))
        try:
            appended = await log.append(stream_id, len(history), ids, events, area, metadata, keys)
        except VersionConflict:
            pass  # the next attempt decides on the newer state
        except AlreadyRecorded:
            recorded = True  # the next attempt reads the first outcome
        else:
            version = len(history) + len(events)
            return Outcome(stream_id, version, appended.position, appended.recorded_at, together=appended.together)
    raise Contended(f"many change {stream_id} at once")


async def state_of(log: EventLog, decider: Decider[C, S, E], stream_id: UUID) -> S:
    """How one aggregate stands now; the initial state for an unknown one. Raises Unavailable, Undecodable."""
    return _present(decider, await log.read_stream(stream_id))[0]


def _present(decider: Decider[C, S, E], history: Sequence[RecordedEvent[Any]]) -> tuple[S, bool]:
    """The state, and whether the stream is ours to write: one of another kind of aggregate is nothing to this one, so
    that a meeting's id where a forum's belongs leads to the answer for an unknown forum."""
    if history and not isinstance(history[0].event, decider.events):
        return decider.initial, False
    return decider.fold(event.event for event in history), True


def _first_outcome(since: Sequence[RecordedEvent[Any]], key: UUID | str, metadata: Metadata) -> Outcome:
    """The outcome of the command whose first event `since` begins with: its events are those with the key's ids. A
    log restored from its stream has no fingerprints (see `rembuk.operations.restoring`): there the key alone must
    do."""
    theirs = since[0].metadata.fingerprint
    if metadata.fingerprint and theirs and theirs != metadata.fingerprint:
        raise KeyReused("this idempotency key was used before with another content")
    last = [event for n, event in enumerate(since) if event.id == event_id(key, n)][-1]
    return Outcome(last.stream_id, last.version, last.position, last.recorded_at, repeated=True)
