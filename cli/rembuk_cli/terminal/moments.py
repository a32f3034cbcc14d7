"""Times as the options of a command name them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from rembuk_cli.terminal.options import cannot_run
from rembuk_cli.terminal.writing import escape

AsOf = Annotated[
    str, typer.Option("--as-of", help="Up to a position of its log, or a time: 17, 2026-01-31T08:00, or 2h ago.")
]

_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(when: str, option: str) -> datetime | None:
    """A time in ISO 8601 (of this machine's zone, unless it names one), or how long ago; None for ""."""
    if not when:
        return None
    try:
        if ago := _AGO.fullmatch(when):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(when).astimezone()
    except (ValueError, OverflowError):  # the latter: before the year 1, or after 9999
        cannot_run(f"{option} {escape(when)}: neither a time like 2026-01-31T08:00 nor 10m, 2h or 3d")


def position_or_time(as_of: str) -> str:
    """What --as-of names as a service takes it: a position, a time in ISO 8601, '' for neither."""
    if as_of.isdecimal():
        return as_of
    when = moment(as_of, "--as-of")
    return when.isoformat() if when else ""
