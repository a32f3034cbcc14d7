"""`rembuk replay`: what happened to one problem, forum, meeting ..., and what was known of it after each event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rembuk.log.standing import types_of
from rembuk.operations.steps import Replayed

from rembuk_cli.region.differences import State, changes
from rembuk_cli.region.event_lines import COLOURS
from rembuk_cli.region.naming import id_named
from rembuk_cli.region.services import answers, ask_each
from rembuk_cli.terminal.moments import AsOf, position_or_time
from rembuk_cli.terminal.options import Data, Json, RegionName, cannot_run, home_of, require_running
from rembuk_cli.terminal.unable import Unable
from rembuk_cli.terminal.writing import err, escape, out, write_answer


def replay(
    named: Annotated[
        str,
        typer.Argument(
            metavar="AGGREGATE", help="The id of a problem (or its reference), forum, meeting, subscription, alert ..."
        ),
    ],
    as_of: AsOf = "",
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """The history of one aggregate, and how it stood after each event, by today's code; nothing is changed by it.

    --json writes a line for each event: the CloudEvent, and the rows of the read model after it.

    Example: rembuk replay 0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21 --as-of 2026-01-31T08:00
    """
    home = home_of(region, data)
    seen = home.running_region(require_running(home))
    until, aggregate = position_or_time(as_of), id_named(seen, named)
    with err.status("looking"):
        found = ask_each(seen, lambda connection: types_of(connection, aggregate))
        service, events = next(((service, events) for service, events in found if events), ("", []))
    if not service:
        cannot_run(f"no service of {seen.name} knows {aggregate}")
    before: State = {}
    told = 0
    try:
        steps: Iterator[Replayed] = answers(Replayed, seen, service, "replay", str(aggregate), *filter(None, [until]))
        for step in steps:
            told += 1
            if as_json:
                write_answer(step)
            else:
                show(service, step.event, changes(before, step.state))
            before = step.state
    except Unable as error:
        at = events[min(told, len(events) - 1)]
        raise Unable(f"position {at.position:,}, a {at.type}: {error}", *error.then) from error
    if not told:
        err.print(f"nothing had happened to {aggregate} by then")


def show(service: str, event: dict[str, Any], changed: list[str]) -> None:
    """One event: its head in a line, then what it changed."""
    by = f" [dim]by {escape(event['actor'])}[/]" if "actor" in event else ""
    out.print(
        f"[dim]{event['time']}[/] [{COLOURS[service]}]{service}[/] {event['position']:,} "
        f"[bold]{event['type']}[/] [dim]version {event['version']}[/]{by}"
    )
    for line in changed:
        out.print(f"    {escape(line)}")
