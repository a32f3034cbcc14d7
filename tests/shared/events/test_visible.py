"""A text has to be seen by whoever reads it, in whatever script it is written."""

from __future__ import annotations

import msgspec
import pytest
from rembuk.areas.former import FORMER, unknown_area
from rembuk.areas.lookup import areas
from rembuk.events.decider import Refused
from rembuk.events.texts import require_ink
from rembuk.events.visible import can_be_seen


class Inner(msgspec.Struct):
    note: str


class Wish(msgspec.Struct):
    title: str
    inner: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    "text", ["Lampu", "🔥", "👨‍👩‍👧", "1️⃣", "🇮🇩", "كامبونج", "ꦏꦩ꧀ꦥꦸꦁ", "ᬓᬂ", "中", "½", "!", "\U0001fae8"]
)
def test_any_script_and_any_emoji_can_be_seen(text: str) -> None:
    assert can_be_seen(text)
    require_ink(Wish(f"\u200f{text}"))


@pytest.mark.parametrize(
    "text", ["\u200b", "\u2800", "\u3164", "\u2060", "\u0301\u0302", "\u200d\ufe0f", "\t \x07", "\xad"]
)
def test_what_leaves_no_mark_is_no_text(text: str) -> None:
    with pytest.raises(Refused, match="can be seen") as caught:
        require_ink(Wish("Lampu", (Inner("ada"), Inner(text))))
    assert (caught.value.rule, caught.value.field) == ("invisible-text", "inner[1].note")


def test_a_text_that_may_be_left_out_is_left_out() -> None:
    require_ink(Wish("Lampu", (Inner(""),)))


def test_a_former_code_is_told_the_new_one() -> None:
    assert "Kabupaten Merauke, Papua Selatan is 93.01" in unknown_area("91.01")
    assert "GET /v1/areas?within=93.01&q=<name>" in unknown_area("91.01.01.1001")
    assert set(FORMER).isdisjoint(areas())
    assert set(FORMER.values()) == {code for code in areas() if len(code) == 5 and code[:2] in ("93", "94", "95", "96")}
