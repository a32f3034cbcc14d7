"""`rembuk export`: a service's events as CloudEvents in files."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rembuk.operations.steps import Exporting, ExportStep

from rembuk_cli.region.services import answers, require_service, watched
from rembuk_cli.terminal.moments import moment
from rembuk_cli.terminal.options import Data, Json, RegionName, cannot_run, home_of, require_running
from rembuk_cli.terminal.writing import escape, many, out, write_answer


class Format(StrEnum):
    """What the files are."""

    NDJSON = "ndjson"
    PARQUET = "parquet"


def export(
    service: Annotated[str, typer.Argument(help="reports, forums or notifications.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="The directory; <region>-<service> unless said otherwise.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="One CloudEvent a line, or a row.")] = Format.NDJSON,
    area: Annotated[str, typer.Option(help="About this area and everything below it: a code, 35.78.")] = "",
    since: Annotated[str, typer.Option(help="From then on: 2026-01-31T08:00, or 10m, 2h, 3d ago.")] = "",
    until: Annotated[str, typer.Option("--until", help="Before then; written like --since.")] = "",
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write a service's events into a directory: files of CloudEvents as they were published, and a manifest.

    What is there already is gone on with: after an interruption, and every night with what is new. An export of all
    areas can be restored from (rembuk restore). Personal data stay sealed in it. Parquet needs pyarrow, which comes
    with the extra `parquet` of rembuk.

    Example: rembuk export reports --out backup/reports
    """
    from rembuk.areas.former import unknown_area
    from rembuk.areas.lookup import areas

    require_service(service)
    if area and area not in areas():
        cannot_run(f"--area {escape(area)}: {escape(unknown_area(area))}")
    home = home_of(region, data)
    seen = home.running_region(require_running(home))
    directory = (to or Path(f"{seen.name}-{service}")).absolute()
    times = [when.isoformat() if when else "" for when in (moment(since, "--since"), moment(until, "--until"))]
    steps: Iterator[ExportStep] = answers(ExportStep, seen, service, "export", format_, str(directory), area, *times)
    for step in watched(steps, lambda _: f"exporting {service}"):
        if isinstance(step, Exporting):
            continue  # a bar shows it
        if as_json:
            write_answer(step, directory=str(directory))
        else:
            out.print(
                f"{directory}: {many(step.events, 'event')} of {service} in {many(step.parts, 'file')}, the log "
                f"read to position {step.read:,}"
            )
