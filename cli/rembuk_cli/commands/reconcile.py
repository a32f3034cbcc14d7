"""`rembuk reconcile`: is the stream the log, and if not, can it be mended?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, assert_never

import typer
from rembuk.broker.stream_names import stream_name
from rembuk.operations.steps import Reconciled, ReconciliationStep, Reconciling, StreamDifference

from rembuk_cli.region.services import answers, require_service, set_back, watched
from rembuk_cli.terminal.options import WRONG, Data, Json, RegionName, home_of, require_running, suggested
from rembuk_cli.terminal.writing import err, escape, many, out, write_answer


def reconcile(
    service: Annotated[str, typer.Argument(help="reports, forums or notifications.")],
    anew: Annotated[
        bool, typer.Option("--anew", help="Forget the stream and publish the log again, from position 1.")
    ] = False,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Compare a service's log with its stream, event by event, and publish what is missing at the stream's end.

    Harmless while the region runs. Exit code 1 when they still differ; what to do then is told.

    Example: rembuk reconcile reports
    """
    require_service(service)
    home = home_of(region, data)
    running = home.running_region(require_running(home))
    well = True
    if anew:
        [sound] = answers(int, running, service, "reconcile", "sound")
        for other in set_back(running, stream_name(running.name, service), sound):
            err.print(
                f"{other} had followed the stream beyond position {sound:,}, where it was no longer the log: it takes "
                f"the log's events from there. See what it had shown by: {suggested(f'rebuild {other} --compare')}"
            )
    steps: Iterator[ReconciliationStep] = answers(
        ReconciliationStep, running, service, "reconcile", *(["anew"] if anew else [])
    )
    for step in watched(steps, lambda step: f"{step.what} {service}"):
        if as_json:
            write_answer(step)
        else:
            _show(service, step)
        if isinstance(step, Reconciled):
            well = step.well
    if not well:
        raise typer.Exit(WRONG)


def _show(service: str, step: ReconciliationStep) -> None:
    match step:
        case StreamDifference(position=position, what=what):
            out.print(f"[red]position {position:,}[/] {escape(what)}")
        case Reconciled(head=head, tail=tail, ahead=ahead, differences=differences, published=published):
            if published:
                out.print(f"{many(published, 'event')} published")
            if ahead:
                out.print(
                    f"[red]the stream has {ahead:,} events that the log has not[/], which ends at {head:,}: the log "
                    f"was lost. Restore it: {suggested(f'restore {service} --from stream')}"
                )
            elif differences or head != tail:
                out.print(
                    f"[red]{differences:,} positions differ; the log ends at {head:,}, the stream at {tail:,}[/]. The "
                    "log is the truth, unless somebody changed it; publish it again by: "
                    f"{suggested(f'reconcile {service} --anew')}"
                )
            else:
                out.print(f"[green]the stream is the log[/], {many(head, 'event')}")
        case Reconciling():
            pass  # a bar shows it
        case _:
            assert_never(step)
