"""How far relays, followers and the hub are behind, and which of that is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
from rembuk.broker.stream_names import stream_name
from rembuk.embedded.region import RegionConfig
from rembuk.federation.hub_regions import Invitation
from rembuk.log.standing import event_id, waiting_s

from rembuk_cli.home.directory import Home
from rembuk_cli.home.running import without_credentials
from rembuk_cli.region.hub_link import ask_hub, refusal
from rembuk_cli.region.standing import HubStanding, Mirrored, ServiceStanding
from rembuk_cli.region.unsigned import unsigned
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


async def compare(
    service: ServiceStanding,
    databases: dict[str, asyncpg.Connection[Any]],
    services: list[ServiceStanding],
    region: RegionConfig,
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
            service.relay_behind_s = await waiting_s(own, service.stream) if service.relay_behind else 0.0
            at_tail = await event_id(own, service.stream)
            if service.name in last_ids and at_tail is not None and str(at_tail) != last_ids[service.name]:
                service.diverged = True
                wrong.append(f"STREAM DIVERGED: {service.name} at {service.stream:,} is another event than in the log")
        if service.relay_behind_s > LATE_S:
            wrong.append(f"{service.name}: its relay is {service.relay_behind:,} events behind")
    signed = service.checkpoint.size if service.checkpoint else 0
    if own is not None and service.log is not None and service.log > signed:
        waiting = await waiting_s(own, signed)
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
            follower.behind_s = await waiting_s(databases[source.name], follower.position)
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


async def behind_at_hub(
    invitation: Invitation | None,
    home: Home,
    region: RegionConfig,
    services: list[ServiceStanding],
    databases: dict[str, asyncpg.Connection[Any]],
    wrong: list[str],
    reachable: bool,
) -> HubStanding | None:
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
        return HubStanding(url, [])
    mirrored = []
    by_name = {one.service: one for one in known}
    for service in services:
        one, database = by_name.get(service.name), databases.get(service.name)
        if one is None or service.stream is None or database is None:
            continue
        behind = max(0, service.stream - one.position)
        behind_s = await waiting_s(database, one.position) if behind else 0.0
        mirrored.append(Mirrored(service.name, one.position, behind, behind_s, one.state))
        if one.state in ("stalled", "diverged"):
            wrong.append(f"{service.name}: the hub says that its stream has {one.state} at {one.position:,}")
        elif behind_s > HUB_LATE_S:
            wrong.append(f"{service.name}: the hub is {behind:,} events behind, {behind_s:.0f} s")
    return HubStanding(url, mirrored)


def note_letters(service: ServiceStanding, inbox: str, letters: int) -> None:
    for follower in service.followers:
        if follower.stream == inbox:
            follower.behind = max(0, letters - follower.position)


def _duration(seconds: float) -> str:
    """As `2 days, 3:04:05`."""
    return str(timedelta(seconds=round(seconds)))
