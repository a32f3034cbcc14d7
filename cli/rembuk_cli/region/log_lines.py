"""What the processes of a region and its servers have logged: all files merged by time, each read line by line from
where it matters on."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from io import BufferedReader
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

LONGEST = 1 << 18
"""Bytes of a line that are read; what is beyond them is counted."""
FIRST_STEP = 1 << 16
"""So far from its end a file is looked into first, then eight times as far, until that is long enough ago."""
MOST_WAITING = 1000
"""Lines without a time that wait for the next one that has a time."""

_POSTGRES = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC \[\d+\] ([A-Z]+)\d?: +(.*)", re.DOTALL)
_NATS = re.compile(r"\[\d+\] (\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d+) \[([A-Z]{3})\] (.*)", re.DOTALL)


class Level(StrEnum):
    """How bad it is, in rising order."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


_ORDER = {level: number for number, level in enumerate(Level)}
_SERVERS_LEVELS = {
    "DEBUG": Level.DEBUG, "LOG": Level.INFO, "INFO": Level.INFO, "NOTICE": Level.INFO, "WARNING": Level.WARNING,
    "ERROR": Level.ERROR, "FATAL": Level.ERROR, "PANIC": Level.CRITICAL,
    "TRC": Level.DEBUG, "DBG": Level.DEBUG, "INF": Level.INFO, "WRN": Level.WARNING, "ERR": Level.ERROR,
    "FTL": Level.CRITICAL,
}  # fmt: skip


class Line(msgspec.Struct, frozen=True):
    """A line of the log of `source`. `at` is when it was written; where it does not tell itself (a traceback, say) that
    is as of its neighbours, and `timed` is false. A line that was not JSON has its text as the field `event`."""

    at: datetime
    source: str
    level: Level | None
    fields: Mapping[str, Any]
    timed: bool = True

    def is_at_least(self, level: Level) -> bool:
        """Whether it is as bad; what names no level is taken for the worst."""
        return self.level is None or _ORDER[self.level] >= _ORDER[level]


def merged(files: Mapping[Path, str], since: datetime) -> Iterator[Line]:
    """Their lines since then, by time; the values are their sources. Lines of one file keep their order."""
    return heapq.merge(*(_since(file, source, since) for file, source in files.items()), key=attrgetter("at"))


def _since(path: Path, source: str, since: datetime) -> Iterator[Line]:
    try:
        file = path.open("rb")
    except FileNotFoundError:  # it was put aside meanwhile
        return
    with file:
        file.seek(_start(file, since))
        written = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
        for line in _timed(_lines(file), source, written):
            if line.at >= since:
                yield line


def _start(file: BufferedReader, since: datetime) -> int:
    """Of the line from which on all lines are that may be of `since` or later; found from the file's end."""
    step, end = FIRST_STEP, file.seek(0, os.SEEK_END)
    while (offset := end - step) > 0:
        file.seek(offset)
        next(_lines(file), None)  # the rest of a line
        start = file.tell()
        for text in _lines(file):
            if (told := _read(text)) is not None:
                if told[0] < since:
                    return start
                break
        step *= 8
    return 0


def _lines(file: BufferedReader) -> Iterator[str]:
    """One after another; of a huge one no more than its beginning is ever held."""
    while part := file.readline(LONGEST):
        left_out, rest = 0, part
        while len(rest) == LONGEST and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST)
            left_out += len(rest)
        text = part.decode(errors="backslashreplace").rstrip("\r\n")
        yield f"{text} ... ({left_out:,} bytes more)" if left_out else text


def _timed(lines: Iterator[str], source: str, written: datetime) -> Iterator[Line]:
    """A line without a time has that of the next one with a time, as what a dying process says last is followed by what
    its successor says first; at the end of the file when that was written. But what begins with a tab goes on from the
    line before, as in PostgreSQL's log."""
    before, waiting = None, list[Line]()
    for text in lines:
        if (told := _read(text)) is not None:
            at, level, fields = told
            before = Line(at, source, level or (before.level if before else None), fields)
            yield from (msgspec.structs.replace(one, at=at) for one in waiting)
            waiting.clear()
            yield before
        elif before is not None and not waiting and text.startswith("\t"):
            yield Line(before.at, source, before.level, {"event": text.replace("\t", "    ")}, timed=False)
        else:
            waiting.append(Line(written, source, None, {"event": text}, timed=False))
            if len(waiting) > MOST_WAITING:
                at = before.at if before is not None else written
                yield from (msgspec.structs.replace(one, at=at) for one in waiting)
                waiting.clear()
    yield from waiting


def _read(text: str) -> tuple[datetime, Level | None, Mapping[str, Any]] | None:
    """When it was written, how bad it is and what it says, as a line of ours, of PostgreSQL or of nats-server; None for
    any other. A `DETAIL` or `HINT` of PostgreSQL's names no level."""
    if text.startswith("{"):
        try:
            fields = msgspec.json.decode(text, type=dict[str, Any])
            at = datetime.fromisoformat(fields["timestamp"])
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            level = fields.get("level")
            return at.astimezone(), Level(level) if level in _ORDER else None, fields
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError, OverflowError, RecursionError):
            return None
    if found := _POSTGRES.match(text) or _NATS.match(text):
        try:
            at = datetime.fromisoformat(found[1].replace("/", "-")).replace(tzinfo=UTC)
        except ValueError:
            return None
        named = "" if found[2] in _SERVERS_LEVELS else f"{found[2]}: "
        return at.astimezone(), _SERVERS_LEVELS.get(found[2]), {"event": named + found[3]}
    return None
