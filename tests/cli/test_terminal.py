"""Whatever came from outside, a terminal shows it: nothing moves its cursor, hides, or passes for a line of ours."""

from __future__ import annotations

import io
import json
import unicodedata
from contextlib import redirect_stdout
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rembuk.events.visible import visible
from rembuk_cli.terminal import writing as terminal
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

ATTACK = "Lampu\x1b[31m\x1b]0;owned\x07\u009b2J\u202e\r\n07:00:00 forged [red]not a tag[/]"
SHOWN = r"Lampu\x1b[31m\x1b]0;owned\x07\x9b2J\u202e\r\n07:00:00 forged [red]not a tag[/]"
INVISIBLE_FORMAT = {"Cc", "Cf", "Zl", "Zp", "Cs"}
SEEN_ALL_THE_SAME = range(0x600, 0x606), (0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD), range(0x13430, 0x13460)
"""Format characters that are drawn: signs around Arabic and Syriac numbers, joiners of hieroglyphs."""


def written(what: Any) -> str:
    console = terminal.Terminal(stderr=False)
    console.file = io.StringIO()
    console.print(what)
    return console.file.getvalue()


def hidden(text: str) -> set[str]:
    return {character for character in text if character != "\n" and visible(character) != character}


def test_every_control_and_format_character_is_written_out_but_those_that_are_drawn() -> None:
    suspects = {chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in INVISIBLE_FORMAT}
    drawn = {chr(code) for some in SEEN_ALL_THE_SAME for code in some}
    assert {one for one in suspects if visible(one) == one} <= drawn
    assert all(visible(one).isascii() and visible(one).isprintable() for one in suspects - drawn)


@pytest.mark.parametrize("text", ["Jalan Dahlia № 5, “Gubeng”", "كامبونج", "ꦏꦩ꧀ꦥꦸꦁ", "Kampung 🏘️🔥", "é e\u0301 中"])
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_title_is_one_visible_line() -> None:
    assert visible(ATTACK) == SHOWN
    assert written(f"[bold]title[/] {terminal.escape(ATTACK)}") == f"title {SHOWN}\n"


def test_a_traceback_is_a_block_of_its_own() -> None:
    assert written("it failed: " + terminal.escape_lines("a\nb[/]\x1b")) == "it failed: a\n    b[/]\\x1b\n"


@given(st.text())
def test_nothing_hidden_leaves_by_a_console_whatever_it_stands_in(text: str) -> None:
    table = Table(text)
    table.add_row(Text(text))
    for what in (terminal.escape(text), Text(text), table, Panel(Text(text))):
        assert not hidden(written(what)), what


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_says_the_same_with_nothing_hidden(value: Any) -> None:
    with redirect_stdout(io.StringIO()) as said:
        terminal.write_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(said.getvalue()) == value
    assert not hidden(said.getvalue())


def test_one_thing_is_no_things() -> None:
    assert [terminal.many(number, "file") for number in (0, 1, 1234)] == ["0 files", "1 file", "1,234 files"]
    assert [terminal.many(number, "process", "es") for number in (1, 2)] == ["1 process", "2 processes"]
