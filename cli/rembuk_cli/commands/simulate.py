"""`rembuk simulate`: realistic load on real villages, the same for the same seed."""

from __future__ import annotations

from typing import Annotated

import typer
from rembuk.areas.former import unknown_area
from rembuk.areas.lookup import areas

from rembuk_cli.demo.simulating import SURABAYA, run
from rembuk_cli.terminal.options import Data, Json, RegionName, cannot_run, home_of, require_running
from rembuk_cli.terminal.writing import escape


def simulate(
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days the reports are spread over.")] = 30,
    seed: Annotated[int, typer.Option(help="The same seed gives the same requests.")] = 1,
    problems: Annotated[
        int | None, typer.Option(min=0, max=1_000_000, help="How many problems; 67 a day unless said otherwise.")
    ] = None,
    area: Annotated[str, typer.Option(help="In whose villages: a code of any level.")] = SURABAYA,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Report problems, and work on a plausible share of them, through the public API of reports.

    The same arguments send the same requests under the same Idempotency-Keys: a second run adds nothing.

    Example: rembuk simulate --days 30 --seed 1 --area 35.78
    """
    running = require_running(home_of(region, data))
    if area not in areas():
        cannot_run(f"--area {escape(area)}: {escape(unknown_area(area))}")
    run(running.urls["reports"], days, seed, problems, area, as_json)
