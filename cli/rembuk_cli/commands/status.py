"""`rembuk status`: is everything well, and if not, what stands where."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING

import msgspec
import typer

from rembuk_cli.home.running import Running
from rembuk_cli.terminal.options import WRONG, Data, Json, RegionName, home_of, require_running
from rembuk_cli.terminal.writing import err, escape, out, write_json

if TYPE_CHECKING:
    from rembuk.witness.standing import WitnessRecord

    from rembuk_cli.region.standing import FollowerStanding, Mirrored, RegionStanding, ServiceStanding


def status(region: RegionName = "", data: Data = None, as_json: Json = False) -> None:
    """Services, relays, signed checkpoints and their witnesses, where every follower is, what is in quarantine; exit
    code 1 when something is wrong.

    Reads the databases and NATS themselves, so it works while the services are down.

    Example: rembuk status --json
    """
    home = home_of(region, data)
    running = require_running(home)
    from rembuk_cli.region.looking import look  # its libraries are nothing to who is told that nothing runs

    with err.status("looking") if err.is_terminal else nullcontext():  # drawn for nobody, it costs 5 ms
        standing = asyncio.run(look(home, running))
    if as_json:
        write_json(msgspec.json.format(msgspec.json.encode(standing)))
    else:
        show(running, standing)
    if standing.wrong:
        raise typer.Exit(WRONG)


def show(running: Running, standing: RegionStanding) -> None:
    """For people: what is wrong comes last, where the eye is."""
    from rich.table import Table

    services = Table(
        "service", "ready", "log", "stream", "relay", "quarantine", "checkpoint", title=f"region {running.region}"
    )
    for one in standing.services:
        services.add_row(
            one.name, _yes(one.ready), _number(one.log), _number(one.stream), _relay(one), _held(one), _signed(one)
        )
    out.print(services, soft_wrap=False)
    witnesses = Table("witness", "of", "cosigned")
    for one in standing.services:
        for witness in one.witnesses:
            witnesses.add_row(escape(witness.name.rpartition("+")[0]), one.name, _cosigned(witness))
    if witnesses.row_count:
        out.print(witnesses, soft_wrap=False)
    if standing.hub is not None:
        mirrors = Table("hub", "has of", "position", "behind by")
        for mirrored in standing.hub.mirrored:
            mirrors.add_row(standing.hub.url, mirrored.service, f"{mirrored.position:,}", _behind(mirrored))
        out.print(mirrors, soft_wrap=False)
    followers = Table("follower", "of", "position", "behind by", "refused")
    for service in standing.services:
        for follower in service.followers:
            name = f"{service.name} {follower.name}"
            refused = f"{follower.refused:,}" if follower.refused else ""
            followers.add_row(name, follower.stream, f"{follower.position:,}", _behind(follower), refused)
    out.print(followers, soft_wrap=False)
    processes = Table("process", "pid", "restarts", "PSS MB")
    for process in standing.processes:
        memory = "" if process.memory_mb is None else f"{process.memory_mb:.0f}"
        processes.add_row(process.name, str(process.pid), str(process.restarts), memory)
    out.print(processes, soft_wrap=False)
    for why in standing.warnings:
        out.print(f"[yellow]{escape(why)}[/]")
    for why in standing.wrong:
        out.print(f"[red]{escape(why)}[/]")
    if not standing.wrong:
        out.print("[green]all is well[/]")


def _yes(ready: bool) -> str:
    return "yes" if ready else "[red]no[/]"


def _number(position: int | None) -> str:
    return "[red]?[/]" if position is None else f"{position:,}"


def _relay(service: ServiceStanding) -> str:
    if service.relay_behind is None:
        return "[red]?[/]"
    if service.relay_behind < 0:
        return f"[bold red]STREAM AHEAD by {-service.relay_behind:,}[/]"
    if service.diverged:
        return "[bold red]STREAM DIVERGED[/]"
    return f"behind by {service.relay_behind:,}" if service.relay_behind else "up to date"


def _held(service: ServiceStanding) -> str:
    held = sum(one.aggregates for one in service.quarantine)
    return f"[red]{held} aggregates[/]" if held else "empty"


def _signed(service: ServiceStanding) -> str:
    return f"{service.checkpoint.size:,}, {_ago(service.checkpoint.age_s)}" if service.checkpoint else "none"


def _cosigned(witness: WitnessRecord) -> str:
    cosigned = "never" if witness.age_s is None else f"{witness.size:,}, {_ago(witness.age_s)}"
    return f"{cosigned}; [red]{escape(witness.failure)}[/]" if witness.failure else cosigned


def _ago(seconds: float) -> str:
    return f"{seconds:,.0f} s ago"


def _behind(one: FollowerStanding | Mirrored) -> str:
    return f"{one.behind:,} events, {one.behind_s:.1f} s" if one.behind else "nothing"
