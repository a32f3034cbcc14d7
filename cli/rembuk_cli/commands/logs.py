"""`rembuk logs`: what all processes of a region have logged, merged by time."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rembuk.events.visible import visible

from rembuk_cli.region.log_lines import Level, merged
from rembuk_cli.terminal.moments import moment
from rembuk_cli.terminal.options import Data, Json, RegionName, cannot_run, region_or_hub
from rembuk_cli.terminal.writing import err, escape, out, write, write_json

if TYPE_CHECKING:
    from rembuk_cli.home.directory import Home
    from rembuk_cli.region.log_lines import Line

OTHERWISE_SHOWN = {"event", "level", "timestamp", "service", "process", "exception"}


def logs(
    since: Annotated[str, typer.Option(help="From then on: 2026-01-31T08:00, or 10m, 2h, 3d ago.")] = "1h",
    service: Annotated[
        str,
        typer.Option("--service", help="reports, reports-worker, supervisor, postgres, nats ...; all unless named."),
    ] = "",
    level: Annotated[Level, typer.Option("--level", help="Only lines of this level or worse.")] = Level.DEBUG,
    correlation: Annotated[str, typer.Option("--correlation", help="Only what belongs to this correlation id.")] = "",
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What the processes and servers of a region (or of the hub: --region hub) have logged, all files merged by time.
    Nothing has to run for that.

    A line in another form than the log's (a traceback of Python's, say) stands where it stands in its file, whatever
    --level. --json writes one object a line.

    Example: rembuk logs --since 2h --service reports --level warning
    """
    files = _files(region_or_hub(region, data), service)
    begin = moment(since, "--since") or datetime.min.replace(tzinfo=UTC)
    tell = _tell_programs if as_json else _tell
    with suppress(KeyboardInterrupt, BrokenPipeError):
        for line in merged(files, begin):
            if line.is_at_least(level) and correlation in ("", line.fields.get("correlation_id")):
                tell(line)


def _files(home: Home, service: str) -> dict[Path, str]:
    """The files of logs, also those put aside, and whose they are."""
    files = {path: path.name.partition(".log")[0] for path in _in(home.logs)}
    for server in ("postgres", "nats"):
        files |= dict.fromkeys(_in(home.data / server), server)
    if not files:
        cannot_run(escape(f"there are no logs in {home.data}: nothing was ever started there"))
    chosen = {path: name for path, name in files.items() if not service or f"{name}-".startswith(f"{service}-")}
    if not chosen:
        cannot_run(
            escape(f"--service {service}: no logs of it; there are those of {', '.join(sorted({*files.values()}))}")
        )
    return chosen


def _in(directory: Path) -> list[Path]:
    """The logs that lie there; those that we may not look for are told of, and missed."""
    if os.path.isdir(directory) and not os.access(directory, os.R_OK | os.X_OK):
        err.print(f"[red]{escape(str(directory))}: Permission denied[/]; what was logged there is not among this")
    return sorted(directory.glob("*.log*"))


def _tell(line: Line) -> None:
    """For people: one line, and an exception's below it."""
    fields = line.fields
    at = line.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if line.timed else ""
    more = (
        f" {visible(name)}={visible(value) if isinstance(value, str) else json.dumps(value)}"
        for name, value in fields.items()
        if name not in OTHERWISE_SHOWN
    )
    said = visible(str(fields.get("event", "")))
    text = f"{at:23} {line.source:20} {line.level or '':8} {said}{''.join(more)}"
    if isinstance(exception := fields.get("exception"), str):
        text = "\n    ".join([text, *exception.rstrip().split("\n")])
    if line.level in (Level.ERROR, Level.CRITICAL) and out.is_terminal:
        out.print(text, style="red", markup=False)
    else:
        write(text + "\n")


def _tell_programs(line: Line) -> None:
    told = {"source": line.source, "level": line.level, "timestamp": line.at, **line.fields}
    write_json(msgspec.json.encode(told))
