"""All that a command writes goes through here: nothing from outside moves a cursor, hides, or forges a line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

import msgspec
from rembuk.events.visible import HIDDEN, visible, visible_lines
from rich import markup
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

WIDE = 1000
"""Columns where there is no terminal: enough for any table."""

_IN_JSON = re.compile(f"(?!\n)[{HIDDEN}]")  # json writes line breaks between values alone


class Terminal(Console):
    """A console that writes hidden characters out, whatever they stand in: markup, a table, a bar, an error. Its own
    line breaks and colours are its own: those of a value are for `escape`."""

    def __init__(self, stderr: bool) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True)
        if not self.is_terminal:
            self.width = WIDE

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)


out = Terminal(stderr=False)
"""What was asked for. It breaks no line in two (a terminal does so itself): what is broken cannot be pasted."""
err = Terminal(stderr=True)
"""Progress and complaints, so that they never stand between results."""


def escape(text: str) -> str:
    """A value from outside as it stands in a line of ours: one line, without markup, nothing hidden."""
    return markup.escape(visible(text))


def escape_lines(text: str) -> str:
    """A text of several lines, such as an error's: all but the first indented, lest one of them passes for ours."""
    return markup.escape(visible_lines(text).replace("\n", "\n    "))


def many(number: int, what: str, more: str = "s") -> str:
    """As `1 file` and `1,234 files`."""
    return f"{number:,} {what}{'' if number == 1 else more}"


def write(text: str, flush: bool = False) -> None:
    """A file or a shell's words on stdout, as they are but for what is hidden."""
    _write(visible_lines(text), flush)


def write_json(encoded: str | bytes, flush: bool = False) -> None:
    """JSON on stdout, for programs: the same values, each hidden character as JSON's own escape."""
    text = encoded if isinstance(encoded, str) else encoded.decode()
    _write(_IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n", flush)


def write_answer(answer: Any, **beside: str) -> None:
    """What an errand answered as JSON in a line on stdout, behind what else is to be said of it."""
    write_json(json.dumps({**beside, **json.loads(msgspec.json.encode(answer))}, ensure_ascii=False))


def _write(text: str, flush: bool) -> None:
    sys.stdout.write(text)
    if flush:
        sys.stdout.flush()
