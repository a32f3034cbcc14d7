"""What one region says to another is written into that one's inbox, in order and once: with the checkpoint, in one
transaction. After a region has accepted a problem, where that came from hears how it goes on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import structlog
from nats.aio.msg import Msg
from rembuk import tracing
from rembuk.broker import streams
from rembuk.contracts import reports
from rembuk.contracts.reports import (
    ProblemEvent,
    ProblemReferred,
    ReferralAccepted,
    ReferralDeclined,
    RegionIntroduced,
    Spoken,
    addressed,
)
from rembuk.events.codec import MAX_EVENT_BYTES, Undecodable
from rembuk.events.event import RecordedEvent
from rembuk.flow import quarantine
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.following import unseen

NAME, SERVICE = "forwarding", "reports"
SPOKEN = {kind.__name__ for kind in (*Spoken.__args__, RegionIntroduced)}
"""What is looked at whatever it is about; of all else only what is about a problem that came from another region."""

HEADER_BYTES = 8192
"""What an event's headers may have, which have 3 KiB at most."""

_ADMITTED = "select true from region where name = $1 and revoked_at is null"
_ORIGINS = "select problem_id, origin from referral where receiver = $1 and accepted and problem_id = any($2)"
_REFERRED = """insert into referral (receiver, problem_id, origin, accepted) values ($1, $2, $3, false)
               on conflict do nothing"""
_ANSWERED = """update referral set accepted = accepted or $4
               where receiver = $1 and problem_id = $2 and origin = $3 returning true"""
_INTRODUCED = """insert into introduced (region, public_key, introduced_at) values ($1, $2, $3)
                 on conflict (region) do update set region = excluded.region returning public_key"""
_ONE_BY_ONE = "lock table inbox in share row exclusive mode"
_WRITE = """insert into inbox (region, position, headers, data)
            select $1, coalesce(max(position), 0) + 1, $2, $3 from inbox where region = $1"""

_log = structlog.get_logger(__name__)


class CannotForward(Exception):
    """Why an event is set aside: it is tried again when an operator says so."""


class Forged(CannotForward):
    """It says what its region has no right to say."""


_OF_THE_EVENT = (CannotForward, Undecodable, asyncpg.DataError)
"""Why one event cannot be forwarded, whatever becomes of the others: what PostgreSQL cannot hold is one of them."""


class Forwarder:
    """Forwards what one region's reports have recorded. `process` is what a Follower calls."""

    def __init__(self, checkpoint: Checkpoint, region: str) -> None:
        self.checkpoint, self._region = checkpoint, region

    async def process(self, messages: list[Msg]) -> None:
        """Forward what is unseen, and set aside what cannot be, with what follows of its aggregate."""
        async with self.checkpoint.connected() as connection, connection.transaction():
            new = unseen(messages, await self.checkpoint.read(connection))
            if not new:
                return
            held = await quarantine.held(connection, self.checkpoint)
            shared = await self._origins(connection, new)
            for message in new:
                aggregate = quarantine.aggregate_of(message)
                if aggregate in held:
                    await quarantine.set_aside(connection, self.checkpoint, message, None)
                    continue
                if aggregate not in shared and (message.headers or {}).get("ce-type") not in SPOKEN:
                    continue
                try:
                    async with connection.transaction():
                        await self._forward(connection, message, shared)
                except _OF_THE_EVENT as error:
                    if isinstance(error, Forged):
                        _log.critical("forged", region=self._region, position=streams.sequence(message), why=str(error))
                    await quarantine.set_aside(connection, self.checkpoint, message, error)
                    held.add(aggregate)
            moment = None
            with suppress(KeyError, ValueError):  # no event, which the projection sets aside
                moment = streams.recorded_at(new[-1])
            await self.checkpoint.move(connection, streams.sequence(new[-1]), moment)

    async def retry(self, connection: asyncpg.Connection[Any], aggregate: str) -> int:
        """Forward what is set aside of an aggregate, in order, beside the live follower; how many events are left.

        The first that fails again keeps its place, with today's error, and those behind it wait on."""
        async with connection.transaction():
            await quarantine.hold_still(connection)
            messages = await quarantine.waiting(connection, self.checkpoint, aggregate)
            shared, done = await self._origins(connection, messages), 0
            with tracing.batch("retry", self.checkpoint.stream, map(streams.about, messages), follower=NAME):
                for message in messages:
                    try:
                        async with connection.transaction():
                            await self._forward(connection, message, shared)
                    except _OF_THE_EVENT as error:
                        await quarantine.still(connection, self.checkpoint, message, error)
                        break
                    done += 1
            await quarantine.release(connection, self.checkpoint, messages[:done])
            return len(messages) - done

    async def _origins(self, connection: asyncpg.Connection[Any], messages: list[Msg]) -> dict[str, set[str]]:
        """Of the problems that some messages are about, those that the region has accepted, and from where."""
        shared: dict[str, set[str]] = {}
        about = [quarantine.aggregate_of(message) for message in messages]
        for row in await connection.fetch(_ORIGINS, self._region, about):
            shared.setdefault(row["problem_id"], set()).add(row["origin"])
        return shared

    async def _forward(self, connection: asyncpg.Connection[Any], message: Msg, shared: dict[str, set[str]]) -> None:
        """One event, to whoever is to hear it; one that is accepted is added to `shared`. Raises CannotForward and
        Undecodable, with nothing done."""
        fact = streams.recorded(reports.CODEC, message)
        event, problem = fact.event, str(fact.stream_id)
        hearers = set(shared.get(problem, ())) if isinstance(event, ProblemEvent) else set()
        said = addressed(event)
        if said is not None:
            hearers.add(said[1])
        if hearers or isinstance(event, RegionIntroduced):
            self._vouch(message, said[0] if said else self._region)
        if said is not None and not await connection.fetchval(_ADMITTED, said[1]):
            raise CannotForward(f"{said[1]} is not admitted")
        match event:
            case ProblemReferred() if said:
                await connection.execute(_REFERRED, said[1], problem, self._region)
            case ReferralAccepted() | ReferralDeclined() if said:
                accepted = isinstance(event, ReferralAccepted)
                if not await connection.fetchval(_ANSWERED, self._region, problem, said[1], accepted):
                    raise Forged(f"{said[1]} has not referred problem {problem} to {self._region}")
                if accepted:
                    shared.setdefault(problem, set()).add(said[1])
            case RegionIntroduced():
                await self._introduce(connection, event, fact)
        for hearer in sorted(hearers):
            await connection.execute(_ONE_BY_ONE)
            await connection.execute(_WRITE, hearer, msgspec.json.encode(message.headers).decode(), message.data)

    def _vouch(self, message: Msg, speaker: str) -> None:
        """What goes to others is what the region itself says, under its own name, and no more than a log takes. Raises
        Forged."""
        header = message.headers or {}
        named = speaker, header.get("ce-region"), header.get("ce-source")
        if named != (self._region, self._region, f"/polmas/{self._region}/{SERVICE}"):
            raise Forged(f"{self._region} speaks as {named}")
        size = len(message.data) + sum(len(name) + len(value) for name, value in header.items())
        if size > MAX_EVENT_BYTES + HEADER_BYTES:
            raise Forged(f"{size} bytes are more than a log takes, and might be more than an answer takes")

    async def _introduce(
        self, connection: asyncpg.Connection[Any], event: RegionIntroduced, fact: RecordedEvent[Any]
    ) -> None:
        """The first key of a region stands until an operator takes it away."""
        if event.region != self._region:
            raise Forged(f"{self._region} introduces {event.region}")
        known = await connection.fetchval(_INTRODUCED, self._region, event.public_key, fact.recorded_at)
        if known != event.public_key:
            raise Forged(f"{self._region} has another referral key than {known}")
