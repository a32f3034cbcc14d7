"""Events of a region for whoever reads along: from the services' logs, or from their streams as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy
from rembuk.broker import streams
from rembuk.broker.cloud_events import cloud_event
from rembuk.broker.stream_names import area_filter, stream_name, subject_prefix
from rembuk.contracts import forums, notifications, reports
from rembuk.embedded.region import RegionConfig
from rembuk.events.codec import Codec, Undecodable
from rembuk.events.event import RecordedEvent
from rembuk.events.rows import recorded
from rembuk.log.selecting import select

from rembuk_cli.region.servers import broker, database
from rembuk_cli.terminal.unable import Unable

CODECS: dict[str, Codec] = {"reports": reports.CODEC, "forums": forums.CODEC, "notifications": notifications.CODEC}
ABSENT_S = 1.0


class EventFilter(msgspec.Struct, frozen=True):
    """Which events: of these services, about an area and below, of a type, since then and before then, caused by this
    actor, of this correlation; "" and None for all."""

    services: tuple[str, ...]
    area: str = ""
    event_type: str = ""
    since: datetime | None = None
    until: datetime | None = None
    actor: str = ""
    correlation: str = ""

    def includes(self, event: RecordedEvent[Any]) -> bool:
        """What the log is asked, asked of an event in hand; but for its service, type and `since`."""
        return (
            (not self.area or event.area == self.area or event.area.startswith(self.area + "."))
            and (self.until is None or event.recorded_at < self.until)
            and self.actor in ("", event.metadata.actor)
            and self.correlation in ("", event.metadata.correlation_id)
        )


class RegionEvent(msgspec.Struct, frozen=True):
    """An event and where it comes from."""

    region: str
    service: str
    recorded: RecordedEvent[Any]

    def json(self) -> str:
        """As a CloudEvent."""
        return msgspec.json.encode(cloud_event(self.region, self.service, self.recorded)).decode()


async def read_logs(region: RegionConfig, wanted: EventFilter) -> AsyncGenerator[RegionEvent, None]:
    """What the logs hold, merged by time; within a service by position."""
    async with AsyncExitStack() as closing:
        sources = [
            await closing.enter_async_context(aclosing(_read_log(region, service, wanted)))
            for service in wanted.services
        ]
        heads = [(head, source) for source in sources if (head := await anext(source, None)) is not None]
        while heads:
            first, source = min(heads, key=lambda pair: pair[0].recorded.recorded_at)
            yield first
            heads.remove((first, source))
            if (following := await anext(source, None)) is not None:
                heads.append((following, source))


async def follow_streams(region: RegionConfig, wanted: EventFilter) -> AsyncGenerator[RegionEvent, None]:
    """What comes on NATS from now on, or from `since`: an ordered consumer a stream, its filter NATS's own."""
    wanted = wanted if wanted.since else msgspec.structs.replace(wanted, since=datetime.now(UTC))
    arrived: asyncio.Queue[RegionEvent | Unable] = asyncio.Queue()

    async def lost() -> None:
        arrived.put_nowait(Unable("NATS does not answer any more", "status"))

    async with broker(region.nats_url, "rembuk events", lost) as client:
        subscribing = [
            asyncio.create_task(_subscribe(client.jetstream(), region, service, wanted, arrived))
            for service in wanted.services
        ]
        try:
            while True:
                if isinstance(told := await arrived.get(), Unable):
                    raise told
                yield told
        finally:
            for task in subscribing:
                task.cancel()


async def _read_log(region: RegionConfig, service: str, wanted: EventFilter) -> AsyncGenerator[RegionEvent, None]:
    async with database(region, service) as connection, connection.transaction(readonly=True):
        async for row in select(
            connection, area=wanted.area, event_type=wanted.event_type, since=wanted.since, until=wanted.until,
            actor=wanted.actor, correlation=wanted.correlation,
        ):  # fmt: skip
            try:
                told = RegionEvent(region.name, service, recorded(CODECS[service], row))
            except (Undecodable, msgspec.MsgspecError) as error:
                raise _unreadable(service, row["position"], row["type"], error) from error
            yield told


async def _subscribe(
    jetstream: Any,
    region: RegionConfig,
    service: str,
    wanted: EventFilter,
    arrived: asyncio.Queue[RegionEvent | Unable],
) -> None:
    async def take(message: Msg) -> None:
        try:
            told = RegionEvent(region.name, service, streams.recorded(CODECS[service], message))
        except Undecodable as error:
            name = (message.headers or {}).get("ce-type", "message")
            arrived.put_nowait(_unreadable(service, streams.sequence(message), name, error))
            return
        if wanted.includes(told.recorded):  # subjects tell types, and areas down to the district
            arrived.put_nowait(told)

    prefix = subject_prefix(region.name, service)
    while True:
        try:
            await jetstream.subscribe(
                area_filter(prefix, wanted.area, wanted.event_type or "*"),
                stream=stream_name(region.name, service),
                ordered_consumer=True,
                config=ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=wanted.since),
                cb=take,
            )
        except nats.js.errors.NotFoundError:  # its relay has not made the stream yet
            await asyncio.sleep(ABSENT_S)
        except (OSError, nats.errors.Error) as error:
            return arrived.put_nowait(Unable(f"NATS does not answer: {error!r}", "status"))
        else:
            return None


def _unreadable(service: str, position: int, name: str, error: Exception) -> Unable:
    return Unable(f"{service}, position {position:,}, a {name}: this release cannot read it: {error}")
