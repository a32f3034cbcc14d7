"""What an operator's command has a service do in a process of its own, with the service's own code and rights.

Each errand loads what it takes, and no more: whoever waits for it has typed a command.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID

import nats
import nats.errors

from rembuk.broker.cloud_events import cloud_event
from rembuk.broker.stream_names import stream_name
from rembuk.log.sources import SERVERS_AWAY, Ending, Exhausted, LogSource, StreamSource
from rembuk.operations.errand_log import errand_log, started
from rembuk.operations.steps import Replayed
from rembuk.postgres.database import Unavailable, connect
from rembuk.proof.signed_note import BadVerifierKey, Verifier
from rembuk.service import Service
from rembuk.settings import CannotRun, Settings
from rembuk.transparency.log_key import signers

USAGE = {
    "replay": "ID [AS-OF]",
    "retry": "FOLLOWER STREAM AGGREGATE",
    "deliveries": "REASON LIMIT STATE ...",
    "requeue": "DELIVERY | given-up REASON",
    "rebuild": "swap | compare | discard | as-of WHEN",
    "rewrap": "",
    "erase": "ID request | retention | other",
    "missing-keys": "",
    "write-off": "PERSONS",
    "verify": "[VERIFIER-KEY ...]",
    "export": "FORMAT DIRECTORY AREA SINCE UNTIL",
    "restore": "stream | hub | DIRECTORY, SEEN [interrupted-too]",
    "reconcile": "[sound | anew]",
}

_INTERRUPTED: tuple[type[BaseException], ...] = (*SERVERS_AWAY, Unavailable, Exhausted)


def errand(service: Service, settings: Settings, name: str, arguments: Sequence[str]) -> AsyncIterator[Any] | None:
    """The answers of an errand, for JSON, whose iteration raises CannotRun; None for arguments that `USAGE` has not."""
    match name, arguments:
        case "replay", [stream_id]:
            return _replay(service, settings, UUID(stream_id), None)
        case "replay", [stream_id, as_of]:
            return _replay(service, settings, UUID(stream_id), _position_or_moment(as_of))
        case "retry", [follower, stream, aggregate]:
            return _retry(service, settings, follower, stream, aggregate)
        case "deliveries", [reason, limit, *states]:
            return service.deliveries(settings, states, reason, int(limit))
        case "requeue", ["given-up", reason]:
            return service.requeue(settings, None, reason)
        case "requeue", [delivery_id]:
            return service.requeue(settings, UUID(delivery_id))
        case "rebuild", ["swap" | "compare" | "discard" as what]:
            return _rebuild(service, settings, what)
        case "rebuild", ["as-of" as what, when]:
            return _rebuild(service, settings, what, _position_or_moment(when))
        case "verify", keys:
            return _verify(service, settings, keys)
        case "rewrap" | "erase" | "missing-keys" | "write-off", _:
            from rembuk.operations import custody

            return custody.errand(service, settings, name, arguments)
        case "export" | "restore" | "reconcile", _:
            from rembuk.operations import recovery

            return recovery.errand(service, settings, name, arguments)
    return None


def _position_or_moment(text: str) -> int | datetime:
    """A position, or a moment in ISO 8601 with its zone."""
    return int(text) if text.isdecimal() else datetime.fromisoformat(text)


async def _replay(
    service: Service, settings: Settings, stream_id: UUID, as_of: int | datetime | None
) -> AsyncIterator[Replayed]:
    """Each step: the event as a CloudEvent, and the rows after it."""
    from rembuk.operations.replaying import replay

    stream = stream_name(settings.region, service.name)
    tables = service.tables()
    async for step in replay(settings.owner_url, service.codec(), service.project, tables, stream, stream_id, as_of):
        yield Replayed(cloud_event(settings.region, service.name, step.event), dict(step.state))


async def _retry(
    service: Service, settings: Settings, follower: str, stream: str, aggregate: str
) -> AsyncIterator[int]:
    """Have a follower take what it has in quarantine of an aggregate; how many events are left."""
    log = errand_log(settings, service.codec())
    by_name = {handler.checkpoint.key: handler for handler in service.handlers(settings, log)}
    if (follower, stream) not in by_name:
        raise CannotRun(f"{service.name} has no follower {follower} of {stream}")
    async with started(log):
        connection = await connect(settings.database_url, f"{follower} retry")
        try:
            yield await by_name[follower, stream].retry(connection, aggregate)
        finally:
            connection.terminate()


async def _rebuild(service: Service, settings: Settings, what: str, when: int | datetime = 0) -> AsyncIterator[Any]:
    """Each step of a rebuild, or the schemas that were discarded."""
    from rembuk.flow.projector import Projector
    from rembuk.operations.rebuilding import CannotRebuild, Rebuild

    handlers = service.handlers(settings, errand_log(settings, service.codec()))
    projectors = [handler for handler in handlers if isinstance(handler, Projector)]
    if not projectors:
        raise CannotRun(f"{service.name} shows nothing yet")
    tables = service.tables()
    streams = [projector.checkpoint.stream for projector in projectors]
    try:
        async with service.sources(settings, streams) or _sources(settings, streams) as sources:
            rebuild = Rebuild(settings.owner_url, settings.name, tables, projectors, sources, _code(service.name))
            match what:
                case "discard":
                    yield await rebuild.discard()
                case "as-of":
                    async for step in rebuild.as_of(when):
                        yield step
                case _:
                    async for step in rebuild.swap() if what == "swap" else rebuild.compare():
                        yield step
    except CannotRebuild as error:
        raise CannotRun(str(error)) from error
    except _INTERRUPTED as error:
        raise CannotRun(
            f"{str(error) or repr(error)}; nothing is changed. Mend it (make room, where a disk is full) and run this "
            "again: it goes on from where it was; what was built so far is given up by `discard`"
        ) from error


async def _verify(service: Service, settings: Settings, keys: Sequence[str]) -> AsyncIterator[Any]:
    """Each step of a verification of the log, by our own keys unless others are given; read models are verified by a
    rebuild that compares."""
    try:
        if own := service.verify(settings):
            steps = own
        else:
            verifiers = [Verifier.of(key) for key in keys] or [signer.verifier for signer in signers(settings)]
            steps = _verified(service, settings, verifiers)
        async for step in steps:
            yield step
    except BadVerifierKey as error:
        raise CannotRun(str(error)) from error
    except _INTERRUPTED as error:
        raise CannotRun(f"{str(error) or repr(error)}; mend that and run this again") from error


async def _verified(service: Service, settings: Settings, verifiers: Sequence[Verifier]) -> AsyncIterator[Any]:
    """Without a region's key it is only seen whether there is a key of each person."""
    from rembuk.keys.key_setting import BadKey
    from rembuk.keys.region_key import RegionKeys
    from rembuk.operations.against_vault import AgainstVault
    from rembuk.operations.verifying import verify
    from rembuk.sealing.vault import Vault

    try:
        keys = RegionKeys.load(settings.region_key) if settings.region_key else RegionKeys(())
    except BadKey as error:
        raise CannotRun(str(error)) from error
    vault = Vault(settings.database_url, keys, f"{settings.name} verify")
    await vault.start()
    try:
        against_vault = AgainstVault(vault, service.codec(), opens=bool(keys.ids))
        async for step in verify(
            settings.database_url, settings.nats_url, settings.region, settings.service, verifiers, against_vault
        ):
            yield step
    finally:
        await vault.stop()


@asynccontextmanager
async def _sources(settings: Settings, streams: Sequence[str]) -> AsyncIterator[dict[str, Ending]]:
    """Where each of some streams is read: ours in the log, which has what NATS may have lost."""
    ours = stream_name(settings.region, settings.service)
    reader = await connect(settings.database_url, "rebuild source")
    broker = None
    try:
        if any(stream != ours for stream in streams):
            broker = await nats.connect(settings.nats_url, connect_timeout=5, max_reconnect_attempts=3)
        yield {
            stream: StreamSource(broker, stream)
            if broker is not None and stream != ours
            else LogSource(reader, settings.region, settings.service)
            for stream in streams
        }
    finally:
        reader.terminate()
        if broker is not None:
            await broker.close()


def _code(service: str) -> str:
    """A digest of all that decides what the events of a service come to in its rows."""
    contracts = sorted(Path(str(files("rembuk.contracts"))).rglob("*.py"))
    ours = [Path(str(files(service))) / name for name in ("projection.py", "tables.py")]
    ours += [Path(str(files("rembuk.sealing"))) / name for name in ("persons.py", "sealing.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in [*contracts, *ours])).hexdigest()
