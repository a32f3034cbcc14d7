"""Sends simulated problems to a region and shows the progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
from rembuk.areas.lookup import areas
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rembuk_cli.demo.simulation import PROBLEMS_A_DAY
from rembuk_cli.demo.simulation import simulate as simulated
from rembuk_cli.terminal.options import cannot_run
from rembuk_cli.terminal.writing import err, escape, out, write_json

if TYPE_CHECKING:
    from rembuk_cli.demo.sender import SendingResult

SURABAYA = "35.78"


def run(url: str, days: int, seed: int, problems: int | None, area: str, as_json: bool = False) -> SendingResult:
    """Send it, with a progress bar, and tell and return what came of it; ends the command where a request was not
    taken."""
    import uvloop

    from rembuk_cli.demo.sender import NotTaken, send

    courses = list(simulated(areas(), seed, days, round(days * PROBLEMS_A_DAY) if problems is None else problems, area))
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("requests", total=sum(map(len, courses)))
        try:
            sent = uvloop.run(send(url, courses, lambda number: bar.advance(task, number)))
        except* NotTaken as group:
            cannot_run(escape(str(group.exceptions[0])))
    took = time.monotonic() - started
    if as_json:
        write_json(msgspec.json.encode({**msgspec.to_builtins(sent), "seconds": round(took, 3)}))
    else:
        rate = sent.requests / took if took else 0
        name = areas()[area].name
        out.print(
            f"{sent.problems:,} problems in {name}, {sent.requests:,} requests in {took:.1f} s ({rate:,.0f}/s); "
            f"the last one is event {sent.position:,} of reports"
        )
    return sent
