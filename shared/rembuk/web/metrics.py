"""What Prometheus is told of a service, its worker included: read at each scrape from the service's database and its
broker, so that the lag of a worker rises when the worker is dead."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import nats
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from prometheus_client import REGISTRY, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from rembuk.broker import streams
from rembuk.broker.stream_names import stream_name
from rembuk.events.codec import Codec
from rembuk.flow.standing import CheckpointPosition, checkpoint_positions, refusals, set_aside
from rembuk.log.standing import log_end, type_counts, waiting_s
from rembuk.postgres.database import UNREACHABLE, Pool, borrowed, open_pool
from rembuk.settings import Settings
from rembuk.transparency.standing import signed_head
from rembuk.witness.standing import witnesses

PATIENCE_S = 2.0
"""How long a scrape waits for an answer of the broker, and twice that for all answers of the database."""
COUNTED = 200_000
"""Positions of the log that one scrape counts by type at most; the next one goes on from there."""

_BYTES = "select pg_database_size(current_database())"

_log = structlog.get_logger(__name__)


class Gauge(msgspec.Struct, frozen=True):
    """What `query` tells, for one service alone: rows of a number and, by the columns' names, its labels."""

    name: str
    help: str
    query: str


class Outcomes(msgspec.Struct, frozen=True):
    """A counter with one label, derived from events that one service alone records: `types` says which of them counts
    as what."""

    name: str
    help: str
    label: str
    types: dict[str, str]


class Metrics:
    """The metrics of one service. What cannot be read is left out, and `rembuk_database_up` or `rembuk_broker_up`
    is 0; where the settings name no broker, nothing is told of one. Each API process of a service tells the same
    gauges, and counts events from its own start on."""

    def __init__(
        self, settings: Settings, codec: Codec, gauges: Sequence[Gauge], outcomes: Sequence[Outcomes] = ()
    ) -> None:
        self._settings, self._gauges, self._outcomes = settings, gauges, outcomes
        self._stream = stream_name(settings.region, settings.service)
        self._pool: Pool
        self._broker: Client | None = None
        self._stream_bytes = 0
        self._tail: int | None = None  # of our stream, as last seen: the relay's lag rises when the broker is away
        self._counted: int | None = None
        self._events = Counter(dict.fromkeys(codec.types, 0))
        self._reactions: Counter[str] = Counter()
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        self._pool = open_pool(self._settings.database_url, f"{self._settings.name} metrics", 1)

    async def stop(self) -> None:
        await self._pool.close()
        if self._broker is not None:
            await self._broker.close()

    async def exposition(self) -> bytes:
        """All metrics of this process and of the service in Prometheus' text format, whoever is away."""
        async with self._turn:
            told = _Told(self._settings.service)
            try:
                async with asyncio.timeout(2 * PATIENCE_S), borrowed(self._pool) as connection:
                    await self._read(connection, told)
            except UNREACHABLE as error:
                _log.warning("metrics without the database", error=repr(error))
                told.add("rembuk_database_up", "Whether the service's PostgreSQL answers", 0)
            else:
                told.add("rembuk_database_up", "Whether the service's PostgreSQL answers", 1)
            return generate_latest(REGISTRY) + generate_latest(told)

    async def _read(self, connection: asyncpg.Connection[Any], told: _Told) -> None:
        """Followers before the broker and the broker before the log: who is level must not seem to be ahead."""
        checkpoints = await checkpoint_positions(connection)
        aside = {(held.follower, held.stream): held.events for held in await set_aside(connection)}
        elsewhere = await self._ask_broker([each for each in checkpoints if each.stream != self._stream], told)
        end = await log_end(connection)
        head, ahead = end.position, max(0.0, end.ahead_s)
        told.add("rembuk_log_position", "The last position of the service's log", head, stream=self._stream)
        told.add("rembuk_clock_ahead_seconds", "How far the time of its last event is ahead of the clock", ahead)
        if self._tail is not None:
            told.add("rembuk_stream_position", "The last sequence of its stream", self._tail, stream=self._stream)
            behind, seconds = await _behind(connection, head, self._tail)
            told.lag("rembuk_relay", "not in its stream yet", behind, seconds, stream=self._stream)
            told.add("rembuk_stream_bytes", "Size of its stream in NATS", self._stream_bytes, stream=self._stream)
        for each in checkpoints:
            key, labels = (each.follower, each.stream), {"follower": each.follower, "stream": each.stream}
            told.add("rembuk_quarantine_size", "Events a follower has set aside", aside.get(key, 0), **labels)
            if each.stream == self._stream:
                behind, seconds = await _behind(connection, head, each.position)
                told.lag("rembuk_projection", "not handled yet", behind, seconds, **labels)
            elif key in elsewhere:
                behind, seconds = elsewhere[key]
                told.lag("rembuk_projection", "not handled yet", behind, seconds, **labels)
        await self._read_signing(connection, head, told)
        refused = await refusals(connection)
        for follower in dict.fromkeys(each.follower for each in checkpoints):
            help = "Commands of a reaction that the domain refused"
            told.add("rembuk_reactions_refused", help, refused.get(follower, 0), follower=follower)
        told.add("rembuk_database_bytes", "Size of the service's database", await connection.fetchval(_BYTES))
        for gauge in self._gauges:
            for row in await connection.fetch(gauge.query):
                (_, value), *labels = row.items()
                told.add(gauge.name, gauge.help, value, **dict(labels))
        await self._count(connection, head, told)

    async def _read_signing(self, connection: asyncpg.Connection[Any], head: int, told: _Told) -> None:
        signed = await signed_head(connection)
        size = signed.size if signed else 0
        told.add("rembuk_tree_head_size", "Events that the last signed tree head covers", size)
        if signed is not None:
            told.add("rembuk_tree_head_age_seconds", "For how long it has been signed", signed.age_s)
        told.lag("rembuk_signing", "not covered by a signed tree head", *await _behind(connection, head, size))
        failing = "For how long a witness has not cosigned as it should"
        for witness in await witnesses(connection):
            name = witness.name.partition("+")[0]
            told.add("rembuk_witness_failing_seconds", failing, witness.failing_s, witness=name)

    async def _count(self, connection: asyncpg.Connection[Any], head: int, told: _Told) -> None:
        if self._counted is None:
            self._counted = head
        until = min(head, self._counted + COUNTED)
        for count in await type_counts(connection, self._counted, until):
            self._events[count.type] += count.events
            if count.reaction:
                self._reactions[count.reaction] += count.events
        self._counted = until
        told.count("rembuk_events", "Events recorded in the service's log, by type", "type", self._events)
        told.count("rembuk_reaction_events", "Events that reactions recorded in it", "follower", self._reactions)
        for one in self._outcomes:
            totals = Counter({label: self._events[kind] for kind, label in one.types.items()})
            told.count(one.name, one.help, one.label, totals)

    async def _ask_broker(
        self, checkpoints: Iterable[CheckpointPosition], told: _Told
    ) -> dict[tuple[str, str], tuple[int, float]]:
        """Note our stream's tail; how many events of other services' streams their followers have not handled, and
        how many seconds ago the first of these was recorded."""
        lags: dict[tuple[str, str], tuple[int, float]] = {}
        if not self._settings.nats_url:
            return lags
        try:
            async with asyncio.timeout(PATIENCE_S):
                self._tail = await self._tail_of(self._stream)
                for each in checkpoints:
                    behind = await self._tail_of(each.stream) - each.position
                    since = await self._recorded_at(each.stream, each.position + 1) if behind > 0 else None
                    seconds = (datetime.now(UTC) - since).total_seconds() if since else 0.0
                    lags[each.follower, each.stream] = behind, seconds
        except (OSError, TimeoutError, nats.errors.Error) as error:
            _log.warning("metrics without the broker", error=repr(error))
            told.add("rembuk_broker_up", "Whether NATS answers the service", 0)
        else:
            told.add("rembuk_broker_up", "Whether NATS answers the service", 1)
        return lags

    async def _client(self) -> Client:
        if self._broker is None or not self._broker.is_connected:
            self._broker = await nats.connect(
                self._settings.nats_url, name=f"{self._settings.name} metrics", allow_reconnect=False,
                connect_timeout=int(PATIENCE_S), error_cb=_said,
            )  # fmt: skip
        return self._broker

    async def _tail_of(self, stream: str) -> int:
        try:
            state = (await (await self._client()).jetstream().stream_info(stream)).state
        except nats.js.errors.NotFoundError:  # its relay has not begun
            return 0
        if stream == self._stream:
            self._stream_bytes = state.bytes
        return state.last_seq

    async def _recorded_at(self, stream: str, position: int) -> datetime | None:
        try:
            message = await (await self._client()).jetstream().get_msg(stream, seq=position)
        except nats.js.errors.NotFoundError:
            return None
        with suppress(KeyError, ValueError):  # no event of ours
            return streams.moment_of((message.headers or {})["ce-time"])
        return None


async def _behind(connection: asyncpg.Connection[Any], head: int, position: int) -> tuple[int, float]:
    """How many events of our log are behind a position, and the age of the first of them."""
    return head - position, await waiting_s(connection, position) if head > position else 0.0


async def _said(_: Exception) -> None:
    """The scrape tells of it."""


class _Told:
    """Metrics of one scrape, as prometheus-client collects them; each has the label `service`."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._families: dict[str, Metric] = {}

    def collect(self) -> Iterable[Metric]:
        return self._families.values()

    def add(self, name: str, help: str, value: float, **labels: str) -> None:
        family = self._families.setdefault(name, GaugeMetricFamily(name, help, labels=["service", *labels]))
        family.add_metric([self._service, *labels.values()], value)  # type: ignore[attr-defined]

    def lag(self, name: str, what: str, events: int, seconds: float, **labels: str) -> None:
        """So many events, the first of which was recorded so many seconds ago."""
        self.add(f"{name}_lag_events", f"Events {what}", max(0, events), **labels)
        self.add(f"{name}_lag_seconds", f"Age of the first event {what}; 0 without one", max(0.0, seconds), **labels)

    def count(self, name: str, help: str, label: str, totals: Counter[str]) -> None:
        family = CounterMetricFamily(name, help, labels=["service", label])
        for value, total in totals.items():
            family.add_metric([self._service, value], total)
        self._families[name] = family
