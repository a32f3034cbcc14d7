"""`rembuk export`: a service's events as CloudEvents in files."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rembuk_cli.region.services import require_service, told_by, watched
from rembuk_cli.terminal.moments import moment
from rembuk_cli.terminal.options import Data, Json, RegionName, cannot_run, home_of, require_running
from rembuk_cli.terminal.writing import escape, many, out, write_json


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
    lines = told_by(seen, service, "export", format_, str(directory), area, *times)
    for step in watched(lines, lambda _: f"exporting {service}"):
        if as_json:
            write_json(json.dumps({"directory": str(directory), **step}))
        else:
            out.print(
                f"{directory}: {many(step['events'], 'event')} of {service} in {many(step['parts'], 'file')}, the log "
                f"read to position {step['read']:,}"
            )
