"""How a region stands: read from the services' databases, from NATS and from the processes themselves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
from rembuk.broker.nats_asking import Asking, NoStream, Unanswered
from rembuk.broker.stream_names import inbox_name, stream_name
from rembuk.embedded.region import Region
from rembuk.federation.hub_regions import Invitation
from rembuk.keys.key_setting import BadKey, key_id, read_keys
from rembuk.postgres.database import UNREACHABLE
from rembuk.postgres.provisioning import SERVICES
from rembuk.sealing import missing_keys
from rembuk.settings import CannotRun

from rembuk_cli.home.directory import Home
from rembuk_cli.home.disk import full
from rembuk_cli.home.running import Running, without_credentials
from rembuk_cli.region.hub_link import ask_hub, refusal
from rembuk_cli.region.processes import ProcessStanding, missing_processes, running_processes
from rembuk_cli.region.ready import answers_ready
from rembuk_cli.region.servers import CONNECT_S, questions
from rembuk_cli.region.stop_links import stop_links
from rembuk_cli.region.unsigned import unsigned
from rembuk_cli.region.wrapping import PERSONS
from rembuk_cli.terminal.options import suggested
from rembuk_cli.terminal.unable import Unable

LATE_S = 10.0
"""Whoever is further behind than this is reported as wrong."""
HUB_LATE_S = 60.0
"""The hub may take so long to go on once its link is back."""
AHEAD_S = 10.0
"""How far the time of a log's last event may be ahead of the clock."""
UNWITNESSED_S = 600.0
"""How long a witness may be away."""

_HEAD = "select position, extract(epoch from recorded_at - clock_timestamp())::float8 as ahead_s from log.head"
_CHECKPOINTS = "select follower, stream, position from checkpoint order by follower, stream"
_REFUSED = "select follower, count(*) from reaction where outcome = 'refused' group by follower"
_QUARANTINE = (
    "select follower, stream, count(distinct stream_id) as aggregates, count(*) as events, min(position) as first "
    "from quarantine group by follower, stream order by follower, stream"
)
_CHECKPOINT = """select size, extract(epoch from clock_timestamp() - signed_at)::float8 as age_s
                 from log.tree_head order by size desc limit 1"""
_WITNESSES = """select verifier_key as name, size, extract(epoch from clock_timestamp() - cosigned_at)::float8 as age_s,
                       coalesce(extract(epoch from clock_timestamp() - failing_since), 0)::float8 as failing_s, failure
                from witness order by name"""
_EVENT = "select id, recorded_at, clock_timestamp() as now from log.event where position = $1"


class Follower(msgspec.Struct):
    """Where a follower stands in a stream; `behind_s` is the age of the first event that it has not taken, `refused`
    how many of a reaction's commands the domain said no to since the beginning (which is an outcome, nothing wrong)."""

    name: str
    stream: str
    position: int
    behind: int = 0
    behind_s: float = 0.0
    refused: int = 0


class Quarantine(msgspec.Struct, frozen=True):
    """What a follower has set aside of a stream, the first of it at position `first`."""

    follower: str
    stream: str
    aggregates: int
    events: int
    first: int


class Witness(msgspec.Struct, frozen=True):
    """Who is asked to cosign, by verifier key: the size of the checkpoint cosigned last, how long ago (None: never);
    for how long, and why, it has not answered as it should."""

    name: str
    size: int
    age_s: float | None
    failing_s: float
    failure: str


class Checkpoint(msgspec.Struct, frozen=True):
    """The last signed tree head."""

    size: int
    age_s: float


class Service(msgspec.Struct):
    """One service; None where it could not be read. A negative `relay_behind` is a stream ahead of its log, a
    `diverged` one ends in another event than the log has there; the relay publishes to neither."""

    name: str
    url: str
    ready: bool = False
    log: int | None = None
    stream: int | None = None
    clock_ahead_s: float = 0.0
    relay_behind: int | None = None
    relay_behind_s: float = 0.0
    diverged: bool = False
    followers: list[Follower] = []
    quarantine: list[Quarantine] = []
    checkpoint: Checkpoint | None = None
    witnesses: list[Witness] = []


class Mirrored(msgspec.Struct, frozen=True):
    """How far the hub has come with a stream: its mirror's last position, how many events it has yet to get, since when
    the first of them waits, and the hub's own word."""

    service: str
    position: int
    behind: int
    behind_s: float
    state: str


class Hub(msgspec.Struct, frozen=True):
    """The hub that the region has joined; no `mirrored` where it does not answer."""

    url: str
    mirrored: list[Mirrored]


class Standing(msgspec.Struct):
    """The whole region; `wrong` says in words what is, and is empty when all is well; `warnings` what is not as it
    should be though everything works."""

    region: str
    services: list[Service]
    processes: list[ProcessStanding]
    wrong: list[str]
    hub: Hub | None = None
    warnings: list[str] = []


async def look(home: Home, running: Running) -> Standing:
    """Read everything. Streams and checkpoints are read before heads, so that none of them seems ahead in passing; who
    does not answer is waited for at the same time as all others."""
    region, invitation = home.running_region(running), _invitation(home)
    services = [Service(name, running.urls[name]) for name in SERVICES]
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
                [(service.log, service.clock_ahead_s)] = await databases[service.name].fetch(_HEAD)
        for service in services:
            wrong += await _compare(service, databases, services, region, last_ids)
            _of_inbox(service, inbox_name(region.name), letters or 0)
        wrong += await _closed(home, databases)
        wrong += await _keyless(databases)
        hub = await _hub(invitation, home, region, services, databases, wrong, letters is not None)
    finally:
        for connection in databases.values():
            connection.terminate()
    wrong = disk + wrong + home.faults() + missing_processes(running)
    warnings = [why for why in [stop_links(running)] if why]
    return Standing(running.region, services, running_processes(running), wrong, hub, warnings)


def _invitation(home: Home) -> Invitation | None:
    """None also where it is damaged, which `Home.faults` tells."""
    with suppress(CannotRun):
        return home.membership.invitation()
    return None


async def _hub(
    invitation: Invitation | None,
    home: Home,
    region: Region,
    services: list[Service],
    databases: dict[str, asyncpg.Connection[Any]],
    wrong: list[str],
    reachable: bool,
) -> Hub | None:
    """How far the hub is, if there is one; adds what is wrong of it. It is not `reachable` without our own NATS."""
    if invitation is None:
        return None
    url = without_credentials(invitation.url)
    try:
        known = await ask_hub(region.nats_url) if reachable else []
    except Unable as error:
        wrong.append(str(error))
        known = []
    if known is None:
        log = home.data / "nats" / "nats-server.log"
        why = refusal(log) or f"does not answer: it is away, or this region is turned away there (see {log})"
        wrong.append(f"the hub at {url} {why}; all is kept for it meanwhile")
        return Hub(url, [])
    mirrored = []
    by_name = {one.service: one for one in known}
    for service in services:
        one, database = by_name.get(service.name), databases.get(service.name)
        if one is None or service.stream is None or database is None:
            continue
        behind = max(0, service.stream - one.position)
        behind_s = await _age(database, one.position + 1) if behind else 0.0
        mirrored.append(Mirrored(service.name, one.position, behind, behind_s, one.state))
        if one.state in ("stalled", "diverged"):
            wrong.append(f"{service.name}: the hub says that its stream has {one.state} at {one.position:,}")
        elif behind_s > HUB_LATE_S:
            wrong.append(f"{service.name}: the hub is {behind:,} events behind, {behind_s:.0f} s")
    return Hub(url, mirrored)


async def _connect(region: Region, service: str, databases: dict[str, asyncpg.Connection[Any]]) -> str:
    """Add a connection to a service's database; why there is none, or ""."""
    url = region.database(service).service_url
    try:
        databases[service] = await asyncpg.connect(url, timeout=CONNECT_S, command_timeout=30)
    except UNREACHABLE as error:
        return f"{service}: its database does not answer: {error!r}"
    return ""


async def _read_nats(
    region: Region, services: list[Service], last_ids: dict[str, str], joined: bool
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


def _of_inbox(service: Service, inbox: str, letters: int) -> None:
    for follower in service.followers:
        if follower.stream == inbox:
            follower.behind = max(0, letters - follower.position)


async def _read_stream(asked: Asking, region: Region, service: Service, last_ids: dict[str, str]) -> str | None:
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


async def _read_flow(database: asyncpg.Connection[Any], service: Service) -> None:
    refused = dict(await database.fetch(_REFUSED))
    service.followers = [
        Follower(row["follower"], row["stream"], row["position"], refused=refused.get(row["follower"], 0))
        for row in await database.fetch(_CHECKPOINTS)
    ]
    service.quarantine = [Quarantine(**row) for row in await database.fetch(_QUARANTINE)]
    service.checkpoint = next((Checkpoint(**row) for row in await database.fetch(_CHECKPOINT)), None)
    service.witnesses = [Witness(**row) for row in await database.fetch(_WITNESSES)]


async def _compare(
    service: Service,
    databases: dict[str, asyncpg.Connection[Any]],
    services: list[Service],
    region: Region,
    last_ids: dict[str, str],
) -> list[str]:
    """Set how far the relay and the followers of one service are behind; what of it is wrong."""
    wrong: list[str] = []
    own = databases.get(service.name)
    if service.clock_ahead_s > AHEAD_S:
        wrong.append(
            f"{service.name}: CLOCK SET BACK: its last event was recorded {_duration(service.clock_ahead_s)} from now; "
            "until then all its events are given that time, and nothing is told to be late"
        )
    if own is not None and service.log is not None and service.stream is not None:
        service.relay_behind = service.log - service.stream
        if service.relay_behind < 0:
            wrong.append(
                f"STREAM AHEAD: {stream_name(region.name, service.name)} is at {service.stream:,}, its log at "
                f"{service.log:,}: the log was restored from an older state (restore it before anything is reported), "
                f"or somebody else published there"
            )
        else:
            service.relay_behind_s = await _age(own, service.stream + 1) if service.relay_behind else 0.0
            at_tail = await own.fetchrow(_EVENT, service.stream)
            if service.name in last_ids and at_tail is not None and str(at_tail["id"]) != last_ids[service.name]:
                service.diverged = True
                wrong.append(f"STREAM DIVERGED: {service.name} at {service.stream:,} is another event than in the log")
        if service.relay_behind_s > LATE_S:
            wrong.append(f"{service.name}: its relay is {service.relay_behind:,} events behind")
    signed = service.checkpoint.size if service.checkpoint else 0
    if own is not None and service.log is not None and service.log > signed:
        waiting = await _age(own, signed + 1)
        wrong += await unsigned(own, region.name, service.name, signed, waiting, service.clock_ahead_s > AHEAD_S)
    wrong += [
        f"{service.name}: its witness {one.name} has not cosigned for {one.failing_s:.0f} s: {one.failure}"
        for one in service.witnesses
        if one.failing_s > UNWITNESSED_S
    ]
    sources = {stream_name(region.name, one.name): one for one in services}
    for follower in service.followers:
        source = sources.get(follower.stream)
        if source is None or source.log is None:
            continue
        follower.behind = max(0, source.log - follower.position)
        if follower.behind:
            follower.behind_s = await _age(databases[source.name], follower.position + 1)
        if follower.behind_s > LATE_S:
            wrong.append(
                f"{service.name}: {follower.name} is {follower.behind:,} events of {follower.stream} behind, "
                f"{follower.behind_s:.0f} s"
            )
    wrong += [
        f"{service.name}: {held.follower} has {held.aggregates} aggregates ({held.events} events) of {held.stream} in "
        f"quarantine, the first at {held.first:,}; see: {suggested('quarantine list')}"
        for held in service.quarantine
    ]
    return wrong


async def _closed(home: Home, databases: dict[str, asyncpg.Connection[Any]]) -> list[str]:
    """Whose keys nobody can unwrap who does not remember a key that is gone from the region's file."""
    try:
        ids, wrong = [key_id(key) for key in read_keys(str(home.region_key), "the region key")], []
    except BadKey as error:
        ids, wrong = [], [f"the region's key cannot be read: {error}"]
    return wrong + [
        f"{service}: the keys of {row['persons']:,} persons are wrapped by the region key {row['key_id']}, which is "
        f"not in {home.region_key}; put it back before anything is started again"
        for service, database in databases.items()
        for row in await database.fetch(PERSONS)
        if row["key_id"] not in ids
    ]


async def _keyless(databases: dict[str, asyncpg.Connection[Any]]) -> list[str]:
    """Of how many persons the key is missing though nobody erased them, as after a restore without `vault_key`."""
    counted = {service: await database.fetchval(missing_keys.COUNT) for service, database in databases.items()}
    said = (
        "of {:,} persons the key is missing, and no erasure says so: what is sealed under it cannot be opened; see: {}"
    )
    return [
        f"{service}: {said.format(many, suggested(f'vault missing {service}'))}"
        for service, many in counted.items()
        if many
    ]


def _duration(seconds: float) -> str:
    """As `2 days, 3:04:05`."""
    return str(timedelta(seconds=round(seconds)))


async def _age(database: asyncpg.Connection[Any], position: int) -> float:
    """How long ago the event at a position was recorded, in seconds."""
    row = await database.fetchrow(_EVENT, position)
    if row is None:
        return 0.0
    age: timedelta = row["now"] - row["recorded_at"]
    return max(0.0, age.total_seconds())
