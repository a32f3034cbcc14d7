"""`rembuk rebuild`: a service's read model made anew from its log, beside the live one, compared and swapped in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, assert_never

import typer
from rembuk.federation.hub_regions import DOMAIN
from rembuk.operations.steps import Compared, LeftBeside, Rebuilding, RebuildStep, RowDifference, Swapped

from rembuk_cli.region.differences import show_comparison
from rembuk_cli.region.services import answers, require_service, watched
from rembuk_cli.terminal.moments import AsOf, position_or_time
from rembuk_cli.terminal.options import (
    WRONG,
    Data,
    Json,
    RegionName,
    cannot_run,
    home_of,
    region_or_hub,
    require_running,
    suggested,
)
from rembuk_cli.terminal.writing import out, write_answer, write_json


def rebuild(
    service: Annotated[str, typer.Argument(help="reports, forums or notifications; or hub, where it runs.")],
    as_of: AsOf = "",
    compare: Annotated[bool, typer.Option("--compare", help="Tell the differences, and change nothing.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Give up what stands beside the live model.")] = False,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a read model anew by today's code, while the service goes on; tell each row that differs, and swap it in.

    Nothing is sent or reacted to again. Interrupted, it goes on where it was when it is run again. With --as-of the
    model is left beside the live one, for the service's own GETs with ?as_of=POSITION. Exit code 1 when --compare
    found a difference, or events are in quarantine after the swap.

    Example: rembuk rebuild reports --as-of 2026-01-31T08:00
    """
    if sum((bool(as_of), compare, discard)) > 1:
        cannot_run("--as-of, --compare and --discard: one of them at most")
    if service != DOMAIN:
        require_service(service)
        home = home_of(region, data)
    elif as_of:
        cannot_run("--as-of: the hub has no log of its own whose position would be meant; ask the region")
    else:
        home = region_or_hub(DOMAIN, data)
    seen = home.running_region(require_running(home))
    if discard:
        [schemas] = answers(list[str], seen, service, "rebuild", "discard")
        write_json(json.dumps(schemas)) if as_json else out.print(
            f"given up: {', '.join(schemas) or 'there was nothing'}"
        )
        return
    what = ["as-of", position_or_time(as_of)] if as_of else ["compare" if compare else "swap"]
    differences = quarantined = 0
    steps: Iterator[RebuildStep] = answers(RebuildStep, seen, service, "rebuild", *what)
    for step in watched(steps, lambda step: f"{step.follower} of {step.stream}"):
        if as_json:
            write_answer(step)
        else:
            _show(service, step)
        match step:
            case Compared():
                differences += step.differences
            case Swapped():
                quarantined += step.quarantined
    if (compare and differences) or quarantined:
        raise typer.Exit(WRONG)


def _show(service: str, step: RebuildStep) -> None:
    match step:
        case Swapped(quarantined=quarantined):
            out.print("the new model is the live one")
            if quarantined:
                out.print(f"[red]{quarantined} events are in quarantine[/]; see {suggested('quarantine list')}")
        case LeftBeside(position=position):
            out.print(f"{service} as of position {position:,}: ask its GETs with ?as_of={position}")
        case Compared() | RowDifference():
            show_comparison(step)
        case Rebuilding():
            pass  # a bar shows it
        case _:
            assert_never(step)
