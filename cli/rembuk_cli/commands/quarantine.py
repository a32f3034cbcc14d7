"""`rembuk quarantine`: events that a follower could not take; look at them, have them tried again, or skip them."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rembuk.flow import standing

from rembuk_cli.region.naming import aggregate_named
from rembuk_cli.region.servers import database
from rembuk_cli.region.services import answers, ask_each
from rembuk_cli.terminal.answering import group
from rembuk_cli.terminal.options import WRONG, Data, Json, RegionName, cannot_run, region_or_hub, require_running
from rembuk_cli.terminal.writing import err, escape, escape_lines, out, write_json

if TYPE_CHECKING:
    from rembuk.embedded.region import RegionConfig

app = group("Events that a follower could not take: each holds back its own aggregate there, and nobody else.")
Aggregate = Annotated[str, typer.Argument(help="The aggregate, as `list` names it; a problem also by its reference.")]
FollowerName = Annotated[str, typer.Option("--follower", help="Only of this follower: projection, open_problems ...")]


class HeldAggregate(msgspec.Struct, frozen=True):
    """What one follower of a service has set aside of one aggregate: `rembuk.flow.standing.AggregateAside`."""

    service: str
    follower: str
    stream: str
    aggregate: str
    events: int
    first: int
    type: str
    error: str
    since: datetime

    @property
    def why(self) -> str:
        """The last line of the traceback."""
        return self.error.strip().rpartition("\n")[2]

    def __str__(self) -> str:
        return f"{self.service} {self.follower} of {self.stream}"


@app.command(name="list")
def list_(region: RegionName = "", data: Data = None, as_json: Json = False) -> None:
    """What is held back, by whom, since when and why; exit code 1 when anything is. `--region hub`: at the hub.

    Example: rembuk quarantine list --json
    """
    held = _held(_region(region, data))
    if as_json:
        write_json(msgspec.json.format(msgspec.json.encode(held)))
    else:
        for one in held:
            out.print(
                f"[bold]{escape(one.aggregate)}[/] {one}: {one.events} events from {one.first:,} on, the first a "
                f"{escape(one.type)}, since {one.since.astimezone():%Y-%m-%d %H:%M:%S}\n    {escape(one.why)}"
            )
    if held:
        raise typer.Exit(WRONG)
    if not as_json:
        out.print("[green]nothing is in quarantine[/]")


@app.command()
def show(aggregate: Aggregate, region: RegionName = "", data: Data = None, as_json: Json = False) -> None:
    """Each event that is held of an aggregate, as it came, and the whole traceback of what went wrong.

    Example: rembuk quarantine show 0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21
    """
    seen = _region(region, data)
    aggregate = aggregate_named(seen, aggregate)
    events = [
        {"service": service, **msgspec.structs.asdict(event), "data": event.data.decode(errors="replace")}
        for service, held in ask_each(seen, partial(standing.events_aside, aggregate=aggregate))
        for event in held
    ]
    if not events:
        cannot_run(f"nothing of {escape(aggregate)} is in quarantine")
    for event in events:
        if as_json:
            write_json(msgspec.json.encode(event))
            continue
        out.print(
            f"[bold]{event['service']} {event['follower']}[/] of {event['stream']}, position {event['position']:,}: "
            f"{escape(event['type'])}\n    {escape_lines(event['error'].strip())}\n    {escape(event['headers'])}\n"
            f"    {escape(event['data'])}\n"
        )


@app.command()
def retry(
    aggregate: Annotated[str, typer.Argument(help="The aggregate, as `list` names it; all unless one is named.")] = "",
    follower: FollowerName = "",
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have what is held taken now, in order, by today's code: after the fault was mended. What fails again stays.

    Harmless as often as it is asked, and while the region runs. Exit code 1 when something is still held.

    Example: rembuk quarantine retry 0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21
    """
    seen = _region(region, data)
    aggregate = aggregate_named(seen, aggregate)
    held = _chosen(seen, aggregate, follower)
    if aggregate and not held:
        cannot_run(f"nothing of {escape(aggregate)} is in quarantine")
    if not held and not as_json:
        out.print(f"[green]nothing{f' of {follower}' if follower else ''} is in quarantine[/]")
    _retry(seen, held, as_json)


@app.command()
def skip(
    aggregate: Aggregate,
    why: Annotated[str, typer.Option("--why", help="The reason; it is kept beside the event.")],
    follower: FollowerName = "",
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take the first event that is held of an aggregate out, untaken and for good; then try those behind it.

    The log keeps the event. What was skipped, why, when and by whom is kept in the service's table `skipped`.

    Example: rembuk quarantine skip 0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21 --why "test data of 31 January"
    """
    if not why.strip():
        cannot_run("--why: a reason must be given")
    seen = _region(region, data)
    aggregate = aggregate_named(seen, aggregate)
    held = _chosen(seen, aggregate, follower)
    if len(held) > 1:
        cannot_run(f"several hold it: {', '.join(map(str, held))}; name one by --follower")
    if not held or not asyncio.run(_skip(seen, held[0], why)):
        cannot_run(f"nothing of {escape(aggregate)} is in quarantine")
    err.print(f"{held[0]}: position {held[0].first:,} is skipped")
    if held[0].events > 1:
        _retry(seen, held, as_json)
    elif as_json:
        _tell_left(held[0], 0)


def _region(region: str, data: Any) -> RegionConfig:
    home = region_or_hub(region, data)
    seen = home.running_region(require_running(home))
    return msgspec.structs.replace(seen, region_key=str(home.region_key))  # a retry may have to open a brief


def _held(region: RegionConfig) -> list[HeldAggregate]:
    return [
        HeldAggregate(service, **msgspec.structs.asdict(aside))
        for service, aggregates in ask_each(region, standing.aggregates_aside)
        for aside in aggregates
    ]


def _chosen(region: RegionConfig, aggregate: str, follower: str) -> list[HeldAggregate]:
    """What is held, of one aggregate and by one follower where they are named; ends the command for one that no service
    has."""
    if follower:
        answers = ask_each(region, standing.checkpoint_positions)
        known = {each.follower for _, checkpoints in answers for each in checkpoints}
        if follower not in known:
            cannot_run(f"there is no follower {escape(follower)}; there are {', '.join(sorted(known))}")
    return [one for one in _held(region) if aggregate in ("", one.aggregate) and follower in ("", one.follower)]


def _retry(region: RegionConfig, held: Sequence[HeldAggregate], as_json: bool) -> None:
    """Have each service's own process try again; what is left is told, and the exit code is 1 when anything is."""
    anything_left = False
    for one in held:
        [left] = answers(int, region, one.service, "retry", one.follower, one.stream, one.aggregate)
        anything_left |= left > 0
        if as_json:
            _tell_left(one, left)
        elif left:
            out.print(f"[red]{one}: {left} events of {escape(one.aggregate)} are still held[/]")
        else:
            out.print(f"{one}: {escape(one.aggregate)} is level again")
    if anything_left:
        raise typer.Exit(WRONG)


def _tell_left(one: HeldAggregate, left: int) -> None:
    write_json(msgspec.json.encode({"aggregate": one.aggregate, "follower": str(one), "left": left}))


async def _skip(region: RegionConfig, held: HeldAggregate, why: str) -> bool:
    from rembuk.flow import quarantine
    from rembuk.flow.checkpoints import Checkpoint

    checkpoint = Checkpoint(region.database(held.service).service_url, held.follower, held.stream)
    async with database(region, held.service) as connection:
        return await quarantine.skip(connection, checkpoint, held.first, why.strip(), getpass.getuser())
