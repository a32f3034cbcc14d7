"""`rembuk restore`: a lost log comes back, from its stream, from the hub or from an export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rembuk.broker.stream_names import stream_name
from rembuk.flow.standing import furthest
from rembuk.operations.steps import RestorationStep, Restoring

from rembuk_cli.region.services import answers, ask_each, require_service, set_back, watched
from rembuk_cli.terminal.options import Data, Json, RegionName, home_of, require_running, suggested
from rembuk_cli.terminal.writing import many, out, write_answer


def restore(
    service: Annotated[str, typer.Argument(help="reports, forums or notifications.")],
    origin: Annotated[str, typer.Option("--from", help="stream, hub, or the directory of an export.")],
    interrupted_too: Annotated[
        bool, typer.Option("--interrupted-too", help="Take an interrupted export as far as it goes.")
    ] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Restore though other services have seen later events, now lost.")
    ] = False,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Bring a log that is empty, or older than what was published, to where its stream, the hub or an export ends.

    All of it, or nothing. Have only the servers run meanwhile (rembuk up --servers-only). Events keep their ids and
    positions; nothing is sent or reacted to again; read models follow by themselves. What was recorded and not yet
    published when PostgreSQL was lost is lost with it, and so are the keys of persons: see docs/runbook.md.

    Example: rembuk restore reports --from stream
    """
    require_service(service)
    home = home_of(region, data)
    running = home.running_region(require_running(home))
    stream = stream_name(running.name, service)
    seen = max(position for _, position in ask_each(running, lambda connection: furthest(connection, stream)))
    place = origin if origin in ("stream", "hub") else str(Path(origin).absolute())
    arguments = [place, "0" if accept_loss else str(seen), *(["interrupted-too"] if interrupted_too else [])]
    steps: Iterator[RestorationStep] = answers(RestorationStep, running, service, "restore", *arguments)
    for step in watched(steps, lambda _: f"restoring {service}"):
        if isinstance(step, Restoring):
            continue  # a bar shows it
        astray = set_back(running, stream, step.position) if accept_loss else []
        if as_json:
            write_answer(step)
            continue
        out.print(f"{service}: {many(step.events, 'event')} restored, its log is at position {step.position:,}")
        for other in astray:
            out.print(f"{other} has shown events that are lost; mend it by: {suggested(f'rebuild {other}')}")
