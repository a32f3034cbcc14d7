"""The relay: publishes the log to its stream, in order, exactly once; the stream's tail is its checkpoint.

Every event becomes one message whose stream sequence equals its log position. Batches are atomic (NATS ADR-50), so
one fsync of the broker serves up to 500 events, and each expects the stream's last sequence, so a second relay
is fenced off and a lost acknowledgement is resolved by looking at the tail.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec
import nats.errors
import nats.js.errors
import structlog
import uuid_utils.compat as uuids
from nats.aio.client import Client

from rembuk import tracing
from rembuk.broker import nats_wire, stream_names, streams
from rembuk.broker.stream_names import stream_name, subject_prefix
from rembuk.log.event_log import PAGE
from rembuk.log.sources import SERVERS_AWAY
from rembuk.log.standing import event_id, last_position
from rembuk.postgres.database import AS_LONG_AS_IT_TAKES_S, KeptConnection

BATCH = 500
IDLE_CHECK_S = 5.0
"""Without news from the log, how often the stream's tail is looked at: a broker that lost its disk is noticed so."""
HALTED_CHECK_S = 30.0
PAUSES_S = {16: 0.03, 0: 0.005}
"""By how many events a batch that is not full had at least, how long none follows it: under load they gather, a lone
one waits for nobody."""
ACK_TIMEOUT_S = 3.0
LOCK = "select pg_advisory_lock(hashtext('rembuk relay'))"

_log = structlog.get_logger(__name__)


class RelayHalted(Exception):
    """Publishing on would make stream and log disagree; somebody has to look. Nothing is published meanwhile."""


class StreamAhead(RelayHalted):
    """The stream holds more than the log: the log was restored from an older state."""


class StreamDiverged(RelayHalted):
    """The stream's last message is not the log's event of that position."""


class _Again(Exception):
    """The broker's answer did not come, or names another tail; look at the tail and go on from there."""


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    count: int = 1
    error: dict[str, Any] | None = None


class Relay:
    """Publishes one service's log. Only the holder of the log's advisory lock does; others wait in line."""

    def __init__(self, log_url: str, broker: Client, region: str, service: str) -> None:
        self._region, self._service = region, service
        self._broker = broker
        self._jetstream = broker.jetstream()
        self._config = streams.stream_config(region, service)
        self.stream = stream_name(region, service)
        self._prefix = subject_prefix(region, service)
        self._news = asyncio.Event()
        self.connection = KeptConnection(log_url, f"{service} relay", self._lead)
        self._decode_ack = msgspec.json.Decoder(_PubAck).decode
        self._live_after = 0

    async def run(self) -> None:
        """Relay until cancelled. What heals by itself is tried again; what does not is said loudly, and re-checked."""
        try:
            while True:
                try:
                    await self.relay()
                except RelayHalted as halted:
                    _log.critical("relay halted", stream=self.stream, why=str(halted))
                    await asyncio.sleep(HALTED_CHECK_S)
                except _Again as reason:
                    _log.warning("relay looks at the tail again", stream=self.stream, why=str(reason))
                    await asyncio.sleep(0.05)
                except SERVERS_AWAY as error:
                    _log.warning("relay waits for its servers", stream=self.stream, error=repr(error))
                    self.connection.drop()
                    await asyncio.sleep(0.5)
        finally:
            self.connection.drop()

    async def relay(self) -> None:
        """Publish everything beyond the stream's tail, then whatever the log announces; raises when it cannot."""
        connection = await self.connection.get()
        tail = await self.checked_tail(connection)
        self._live_after = await last_position(connection)
        while True:
            self._news.clear()
            rows = await connection.fetch(PAGE, tail, BATCH)
            if rows:
                about = map(streams.about_row, rows)
                with tracing.batch("publish", self.stream, about, live_after=self._live_after):
                    tail = await self._publish(rows, tail)
                self._live_after = max(self._live_after, tail)
                if len(rows) < BATCH:
                    await asyncio.sleep(next(pause for least, pause in PAUSES_S.items() if len(rows) >= least))
                continue
            try:
                async with asyncio.timeout(IDLE_CHECK_S):
                    await self._news.wait()
            except TimeoutError:
                tail = await self.checked_tail(connection)

    async def checked_tail(self, connection: asyncpg.Connection[Any]) -> int:
        """The stream's last sequence, after making sure that the stream exists and is a prefix of the log."""
        try:
            state = (await self._jetstream.stream_info(self.stream)).state
        except nats.js.errors.NotFoundError:
            state = (await self._jetstream.add_stream(self._config)).state
            _log.info("stream created", stream=self.stream)
        tail = state.last_seq
        if tail == 0:
            return 0
        ours = await event_id(connection, tail)
        if ours is None:
            head = await last_position(connection)
            raise StreamAhead(f"{self.stream} is at {tail}, its log at {head}: restore the log before going on")
        if state.messages:
            last = await self._jetstream.get_msg(self.stream, seq=tail)
            if (last.headers or {}).get("Nats-Msg-Id") != str(ours):
                raise StreamDiverged(f"{self.stream} at {tail} is not the log's event {ours}")
        return tail

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute(LOCK, timeout=AS_LONG_AS_IT_TAKES_S)
        await connection.add_listener("event_log", lambda *_: self._news.set())
        connection.add_termination_listener(lambda *_: self._news.set())  # news, too: no more will come this way

    async def _publish(self, rows: list[asyncpg.Record], tail: int) -> int:
        """Publish rows as one atomic batch behind `tail`; the new tail.

        The first and the last message are requests, so that a fence or a failed commit is heard; those between
        are written in one go.
        """
        batch_id = uuids.uuid4().hex
        last = len(rows)
        between: list[bytes] = []
        for number, row in enumerate(rows, 1):
            header = streams.published_lines(streams.header_lines(self._region, self._service, row))
            if last > 1:
                header += f"Nats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: {number}\r\n"
            if number == 1:
                header += f"Nats-Expected-Last-Sequence: {tail}\r\n"
            if number == last > 1:
                header += "Nats-Batch-Commit: 1\r\n"
            subject = stream_names.subject(self._prefix, row["type"], row["area"])
            if 1 < number < last:
                between.append(nats_wire.message(subject, header, row["data"].encode()))
                continue
            if between:
                await nats_wire.send(self._broker, between)
            await self._request(subject, header, row, tail, last if number == last else 0)
        return tail + last

    async def _request(self, subject: str, header: str, row: asyncpg.Record, tail: int, commits: int) -> None:
        """Publish and wait for the broker's word; with `commits` it has to say that so many were stored."""
        lines = nats_wire.parse_header_lines(header.encode())
        try:
            reply = await self._broker.request(subject, row["data"].encode(), timeout=ACK_TIMEOUT_S, headers=lines)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
            raise _Again(f"no answer behind {tail}: {error!r}") from error
        ack = self._decode_ack(reply.data) if reply.data else _PubAck()
        if ack.error is not None:
            raise _Again(f"refused behind {tail}: {ack.error.get('description')}")
        if commits and ack.seq != tail + commits:
            raise StreamDiverged(f"{self.stream} stored a batch at {ack.seq}, expected {tail + commits}")
