"""How a region stands, read from the services' databases, from NATS and from the processes themselves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
from rembuk.broker.nats_asking import Asking, NoStream, Unanswered
from rembuk.broker.stream_names import inbox_name, stream_name
from rembuk.embedded.region import RegionConfig
from rembuk.federation.hub_regions import Invitation
from rembuk.flow.standing import checkpoint_positions, refusals, set_aside
from rembuk.keys.key_setting import BadKey, key_id, read_keys
from rembuk.log.standing import log_end
from rembuk.postgres.database import UNREACHABLE
from rembuk.postgres.provisioning import SERVICES
from rembuk.sealing import missing_keys
from rembuk.sealing.wrapped_keys import persons_by_key
from rembuk.settings import CannotRun
from rembuk.transparency.standing import signed_head
from rembuk.witness.standing import witnesses

from rembuk_cli.home.directory import Home
from rembuk_cli.home.disk import full
from rembuk_cli.home.running import Running
from rembuk_cli.region.lateness import behind_at_hub, compare, note_letters
from rembuk_cli.region.processes import missing_processes, running_processes
from rembuk_cli.region.ready import answers_ready
from rembuk_cli.region.servers import CONNECT_S, questions
from rembuk_cli.region.standing import FollowerStanding, RegionStanding, ServiceStanding
from rembuk_cli.region.stop_links import stop_links
from rembuk_cli.terminal.options import suggested
from rembuk_cli.terminal.unable import Unable


async def look(home: Home, running: Running) -> RegionStanding:
    """Read everything. Streams and checkpoints are read before heads, so that none of them seems ahead in passing; who
    does not answer is waited for at the same time as all others."""
    region, invitation = home.running_region(running), _invitation(home)
    services = [ServiceStanding(name, running.urls[name]) for name in SERVICES]
    last_ids: dict[str, str] = {}
    databases: dict[str, asyncpg.Connection[Any]] = {}
    connecting = [_connect(region, one.name, databases) for one in services]
    try:
        disk, (in_nats, letters), away, ready = await asyncio.gather(
            asyncio.to_thread(full, home, running),
            _read_nats(region, services, last_ids, invitation is not None),
            asyncio.gather(*connecting),
            asyncio.gather(*(asyncio.to_thread(answers_ready, running.ports[one.name]) for one in services)),
        )
        for service, is_ready in zip(services, ready, strict=True):
            service.ready = is_ready
        wrong = [f"{one.name} is not ready: {one.url}/health/ready" for one in services if not one.ready]
        wrong += in_nats + [why for why in away if why]
        for service in services:
            if service.name in databases:
                await _read_flow(databases[service.name], service)
        for service in services:
            if service.name in databases:
                end = await log_end(databases[service.name])
                service.log, service.clock_ahead_s = end.position, end.ahead_s
        for service in services:
            wrong += await compare(service, databases, services, region, last_ids)
            note_letters(service, inbox_name(region.name), letters or 0)
        wrong += await _closed(home, databases)
        wrong += await _keyless(databases)
        hub = await behind_at_hub(invitation, home, region, services, databases, wrong, letters is not None)
    finally:
        for connection in databases.values():
            connection.terminate()
    wrong = disk + wrong + home.faults() + missing_processes(running)
    warnings = [why for why in [stop_links(running)] if why]
    return RegionStanding(running.region, services, running_processes(running), wrong, hub, warnings)


def _invitation(home: Home) -> Invitation | None:
    """None also where it is damaged, which `Home.faults` tells."""
    with suppress(CannotRun):
        return home.membership.invitation()
    return None


async def _connect(region: RegionConfig, service: str, databases: dict[str, asyncpg.Connection[Any]]) -> str:
    """Add a connection to a service's database; why there is none, or ""."""
    url = region.database(service).service_url
    try:
        databases[service] = await asyncpg.connect(url, timeout=CONNECT_S, command_timeout=30)
    except UNREACHABLE as error:
        return f"{service}: its database does not answer: {error!r}"
    return ""


async def _read_nats(
    region: RegionConfig, services: list[ServiceStanding], last_ids: dict[str, str], joined: bool
) -> tuple[list[str], int | None]:
    """Set how far the streams are. What is wrong of them, and how many letters of other regions are in the inbox of one
    that has `joined` a hub; None where NATS does not answer."""
    letters = 0
    try:
        async with questions(region.nats_url, "rembuk status") as asked:
            read = [await _read_stream(asked, region, one, last_ids) for one in services]
            if joined:
                with suppress(Unanswered):
                    letters = (await asked.tail(inbox_name(region.name))).sequence
    except Unable as error:
        return [str(error)], None
    return [why for why in read if why is not None], letters


async def _read_stream(
    asked: Asking, region: RegionConfig, service: ServiceStanding, last_ids: dict[str, str]
) -> str | None:
    name = stream_name(region.name, service.name)
    try:
        tail = await asked.tail(name)
        service.stream = tail.sequence
        if tail.sequence and tail.messages:
            last_ids[service.name] = (await asked.headers(name, tail.sequence)).get("Nats-Msg-Id", "")
    except NoStream:
        service.stream = 0  # made by the relay when it first runs
    except Unanswered as error:
        return f"{service.name}: its stream cannot be read: {error}"
    return None


async def _read_flow(database: asyncpg.Connection[Any], service: ServiceStanding) -> None:
    refused = await refusals(database)
    service.followers = [
        FollowerStanding(each.follower, each.stream, each.position, refused=refused.get(each.follower, 0))
        for each in await checkpoint_positions(database)
    ]
    service.quarantine = await set_aside(database)
    service.checkpoint = await signed_head(database)
    service.witnesses = await witnesses(database)


async def _closed(home: Home, databases: dict[str, asyncpg.Connection[Any]]) -> list[str]:
    """Whose keys nobody can unwrap who does not remember a key that is gone from the region's file."""
    try:
        ids, wrong = [key_id(key) for key in read_keys(str(home.region_key), "the region key")], []
    except BadKey as error:
        ids, wrong = [], [f"the region's key cannot be read: {error}"]
    return wrong + [
        f"{service}: the keys of {persons:,} persons are wrapped by the region key {wrapping}, which is "
        f"not in {home.region_key}; put it back before anything is started again"
        for service, database in databases.items()
        for wrapping, persons in (await persons_by_key(database)).items()
        if wrapping not in ids
    ]


async def _keyless(databases: dict[str, asyncpg.Connection[Any]]) -> list[str]:
    """Of how many persons the key is missing though nobody erased them, as after a restore without `vault_key`."""
    counted = {service: await missing_keys.count(database) for service, database in databases.items()}
    said = (
        "of {:,} persons the key is missing, and no erasure says so: what is sealed under it cannot be opened; see: {}"
    )
    return [
        f"{service}: {said.format(many, suggested(f'vault missing {service}'))}"
        for service, many in counted.items()
        if many
    ]
