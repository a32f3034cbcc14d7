"""Reconcile: a log and its stream are compared event by event; what the stream lacks at its end is published again.

The log is the truth. What differs in the midst of a stream cannot be mended there, since NATS only adds: the stream is
then made anew from the log, when somebody has looked and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import nats.js.errors
from nats.aio.msg import Msg

from rembuk.broker import streams
from rembuk.broker.raw_stream import RawStream
from rembuk.broker.stream_names import stream_name
from rembuk.events.codec import Undecodable
from rembuk.log.event_log import PAGE
from rembuk.log.relay import HALTED_CHECK_S, Relay, RelayHalted
from rembuk.log.sources import StreamSource
from rembuk.log.standing import last_position
from rembuk.operations.against_stream import AgainstStream, difference
from rembuk.operations.steps import Reconciled, ReconciliationStep, Reconciling, StreamDifference
from rembuk.postgres.database import connect
from rembuk.process.cancelling import cancel

AT_ONCE = 500
TOLD = 20
"""Differences that are told one by one."""
PATIENCE_S = HALTED_CHECK_S + 15
"""How long the stream may stand still while there is something to publish: a halted relay looks again meanwhile."""
POLL_S = 0.05


class CannotReconcile(Exception):
    """Why it was not done, and what to do."""


class Reconciliation:
    """Of one service, asked as the service itself. Raises what `rembuk.postgres.database.UNREACHABLE` lists,
    nats.errors.Error and CannotReconcile."""

    def __init__(self, log_url: str, broker: RawStream, region: str, service: str) -> None:
        self._log_url, self._broker = log_url, broker
        self._region, self._service = region, service
        self._stream = stream_name(region, service)
        self._jetstream = broker.jetstream()

    async def sound(self) -> int:
        """The position up to which the stream may be believed to be the log: what its end holds beyond is somebody
        else's. Whoever followed the stream further has taken that for events, and is to be set back to here before the
        stream is made anew. Raises CannotReconcile where the stream holds what the log has lost."""
        connection = await connect(self._log_url, "reconcile")
        try:
            head, tail = await last_position(connection), await streams.tail_of(self._jetstream, self._stream)
            if ahead := await self._ours_beyond(head, tail):
                raise CannotReconcile(
                    f"{self._stream} holds {ahead} events that the log has not, and would be their last copy: "
                    f"restore the log from it first, by: rembuk restore {self._service} --from stream"
                )
            position = min(head, tail)
            while position and await self._differs(connection, position):
                position -= 1
            return position
        finally:
            connection.terminate()

    async def run(self, anew: bool = False) -> AsyncIterator[ReconciliationStep]:
        """Publish what is missing at the stream's end, then compare all of it; `anew`: forget the stream first, as far
        as it is no log's last copy (see `sound`)."""
        if anew:
            await self.sound()
            await self._forget()
        connection = await connect(self._log_url, "reconcile")
        try:
            head, before = await last_position(connection), await streams.tail_of(self._jetstream, self._stream)
            ahead = await self._ours_beyond(head, before)
            async for step in self._publish(connection, head):
                yield step
            tail = await streams.tail_of(self._jetstream, self._stream)
            differences = 0
            async for compared in self._compare(connection, min(head, tail)):
                if isinstance(compared, StreamDifference):
                    differences += 1
                    if differences > TOLD:
                        continue
                yield compared
            yield Reconciled(head, tail, max(0, min(head, tail) - before), differences, ahead)
        finally:
            connection.terminate()

    async def _differs(self, connection: asyncpg.Connection[Any], position: int) -> bool:
        [row] = await connection.fetch(PAGE, position - 1, 1)
        return bool(difference(self._region, self._service, row, await self._broker.one(self._stream, position)))

    async def _forget(self) -> None:
        try:
            await self._jetstream.delete_stream(self._stream)
        except nats.js.errors.NotFoundError:
            return

    async def _ours_beyond(self, head: int, tail: int) -> int:
        """How many messages beyond the log are events of this service: a lost log's, and not somebody's noise."""
        source, position, ours = StreamSource(self._broker, self._stream), head, 0
        while position < tail:
            messages = await source.after(position, AT_ONCE)
            if not messages:
                break
            position = streams.sequence(messages[-1])
            ours += sum(self._is_ours(message) for message in messages)
        return ours

    def _is_ours(self, message: Msg) -> bool:
        try:
            streams.row(self._region, self._service, message)
        except Undecodable:
            return False
        return True

    async def _publish(self, connection: asyncpg.Connection[Any], head: int) -> AsyncIterator[Reconciling]:
        """Have the relay, ours or the one that is at work, bring the stream to `head`; nothing where what is there
        already is not the log's, which the comparison will tell."""
        relay = Relay(self._log_url, self._broker, self._region, self._service)
        try:
            tail = await relay.checked_tail(connection)
        except RelayHalted:
            return
        moved = time.monotonic()
        work = asyncio.create_task(relay.run(), name="reconcile relay")
        try:
            while tail < head:
                await asyncio.sleep(POLL_S)
                now = await streams.tail_of(self._jetstream, self._stream)
                if now != tail:
                    tail, moved = now, time.monotonic()
                    yield Reconciling("publishing", tail, head)
                elif time.monotonic() - moved > PATIENCE_S:
                    raise CannotReconcile(
                        f"nothing more comes to {self._stream}: see the log of the {self._service} worker"
                    )
        finally:
            await cancel([work])

    async def _compare(
        self, connection: asyncpg.Connection[Any], last: int
    ) -> AsyncIterator[Reconciling | StreamDifference]:
        """Every position up to `last`, in the log and in the stream."""
        if last:
            await self._broker.begin(self._stream)
        against_stream = AgainstStream(self._broker, last, self._region, self._service)
        position = 0
        while position < last:
            rows = await connection.fetch(PAGE, position, min(AT_ONCE, last - position))
            position = rows[-1]["position"]
            for wrong in await against_stream.take(rows):
                yield StreamDifference(wrong.position, wrong.said)
            yield Reconciling("comparing", position, last)
