"""Errands for the day on which a disk is gone, and for the days before: export, restore, reconcile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from rembuk.broker.raw_stream import RawStream
from rembuk.broker.stream_names import OWN_INBOX, stream_name
from rembuk.broker.streams import tail_of
from rembuk.federation.hub_regions import INBOX
from rembuk.federation.hub_source import HubSilent, HubSource
from rembuk.flow.checkpoints import Checkpoint
from rembuk.log.event_log import EventLog
from rembuk.log.sources import SERVERS_AWAY, LogSource, Source, StreamSource
from rembuk.operations.export_formats import FormatMissing
from rembuk.operations.exporting import BadExport, Export, ExportSource, Selection
from rembuk.operations.reconciling import CannotReconcile, Reconciliation
from rembuk.operations.restoring import CannotRestore, end_of_stream, restore
from rembuk.operations.steps import Exported
from rembuk.postgres.database import connect
from rembuk.service import Service
from rembuk.settings import CannotRun, Settings

_WRONG = (BadExport, FormatMissing, CannotRestore, CannotReconcile, HubSilent)

_RANGE = """select coalesce(min(position), 1) - 1 as after, coalesce(max(position), 0) as target from log.event
            where ($1::timestamptz is null or recorded_at >= $1) and ($2::timestamptz is null or recorded_at < $2)"""


def errand(service: Service, settings: Settings, name: str, arguments: Sequence[str]) -> AsyncIterator[Any] | None:
    """As `rembuk.operations.errands.errand`."""
    match name, arguments:
        case "export", [format_name, directory, area, since, until]:
            selection = Selection(area, _moment(since), _moment(until))
            return _refusing(_export(settings, format_name, Path(directory), selection))
        case "restore", [origin, seen]:
            return _refusing(_restore(service, settings, origin, int(seen), False))
        case "restore", [origin, seen, "interrupted-too"]:
            return _refusing(_restore(service, settings, origin, int(seen), True))
        case "reconcile", []:
            return _refusing(_reconcile(settings, False))
        case "reconcile", ["sound"]:
            return _refusing(_sound(settings))
        case "reconcile", ["anew"]:
            return _refusing(_reconcile(settings, True))
    return None


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


async def _refusing(steps: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The steps, their errors as CannotRun."""
    try:
        async for step in steps:
            yield step
    except _WRONG as error:
        raise CannotRun(str(error)) from error
    except nats.js.errors.NotFoundError as error:
        raise CannotRun(f"the stream is not there ({error.description}): restore from an export or a backup") from error
    except SERVERS_AWAY as error:
        raise CannotRun(
            f"{str(error) or repr(error)}; mend that (make room, where a disk is full) and run this again"
        ) from error


async def _export(settings: Settings, format_name: str, directory: Path, selection: Selection) -> AsyncIterator[Any]:
    export = Export(directory)
    manifest = export.begin(settings.region, settings.service, format_name, selection)
    connection = await connect(settings.database_url, "export")
    try:
        row = await connection.fetchrow(_RANGE, selection.since, selection.until)
        assert row is not None
        source = LogSource(connection, settings.region, settings.service)
        async for written in export.write(manifest, source, row["after"], row["target"]):
            yield written
    finally:
        connection.terminate()
    done = export.manifest()
    assert done is not None
    yield Exported(done.events, len(done.parts), done.read)


async def _restore(
    service: Service, settings: Settings, origin: str, seen: int, interrupted_too: bool
) -> AsyncIterator[Any]:
    """`seen` is the position up to which other services have followed our stream."""
    from rembuk.flow.reactions import Reactor

    stream = stream_name(settings.region, settings.service)
    async with _broker(settings, INBOX if origin == "hub" else OWN_INBOX) as broker:
        source: Source
        match origin:
            case "stream":
                source, last = StreamSource(broker, stream), await end_of_stream(broker, stream)
            case "hub":
                source = HubSource(broker, settings.region, settings.service)
                last = await source.end()
                await _holds_the_stream(broker, stream, source, last, "hub")
            case _:
                export = Export(Path(origin))
                manifest = export.check(settings.region, settings.service, interrupted_too)
                source, last = ExportSource(export, manifest), manifest.read
                await _holds_the_stream(broker, stream, source, last, "export")
        if last < seen:
            raise CannotRestore(
                f"it ends at position {last}, but other services have followed {stream} to {seen}: take a newer export "
                "or backup; where there is none, accept the loss by --accept-loss"
            )
        codec = service.codec()
        handlers = service.handlers(settings, EventLog(settings.database_url, codec))
        reactors: list[Checkpoint] = [one.checkpoint for one in handlers if isinstance(one, Reactor)]
        async for step in restore(settings.owner_url, settings.region, settings.service, source, last, reactors, codec):
            yield step


async def _holds_the_stream(broker: Client, stream: str, source: Source, last: int, what: str) -> None:
    """Raises CannotRestore where the stream has what the source, which ends at `last`, has not."""
    if (tail := await tail_of(broker.jetstream(), stream)) == 0:
        return
    if tail > last:
        raise CannotRestore(f"{stream} goes on to position {tail}, the {what} ends at {last}: restore from the stream")
    published = await StreamSource(broker, stream).after(tail - 1, 1)
    held = await source.after(tail - 1, 1)
    if [_id(one) for one in published] != [_id(one) for one in held]:
        raise CannotRestore(
            f"{stream} at position {tail} is another event than in the {what}: one of them is of another log. Find out "
            "which is right before anything is restored"
        )


def _id(message: Msg) -> str | None:
    return (message.headers or {}).get("Nats-Msg-Id")


async def _reconcile(settings: Settings, anew: bool) -> AsyncIterator[Any]:
    async with _broker(settings) as broker:
        async for step in _reconciliation(settings, broker).run(anew):
            yield step


async def _sound(settings: Settings) -> AsyncIterator[int]:
    async with _broker(settings) as broker:
        yield await _reconciliation(settings, broker).sound()


def _reconciliation(settings: Settings, broker: RawStream) -> Reconciliation:
    return Reconciliation(settings.database_url, broker, settings.region, settings.service)


@asynccontextmanager
async def _broker(settings: Settings, inbox: str = OWN_INBOX) -> AsyncIterator[RawStream]:
    """`inbox` is what answers are sent to."""
    broker = RawStream()
    try:
        await broker.connect(
            settings.nats_url, name="rembuk errand", connect_timeout=5, max_reconnect_attempts=3, inbox_prefix=inbox
        )
    except SERVERS_AWAY as error:
        raise CannotRun("NATS does not answer: start it first") from error
    try:
        yield broker
    finally:
        await broker.close()
