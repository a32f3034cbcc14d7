"""Which characters of a text can be seen, and a text with the others written out."""

from __future__ import annotations

import re
import unicodedata

HIDDEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff"
)
"""Controls, line separators, surrogates, what Unicode calls default ignorable (bidirectional, zero-width, fillers), and
two symbols without ink. Variation selectors are none of them: they choose how an emoji looks, and cannot do more."""

_HIDDEN = re.compile(f"[{HIDDEN}]")
_INK = re.compile("[!-~]")
_WITHOUT_INK = "ZMC"  # spaces, marks that need a letter, controls; what this Python does not know yet may be an emoji


def visible(text: str) -> str:
    """The text in one line, each hidden character as its escape: `\\x1b`, `\\n`, `\\u202e`."""
    return _HIDDEN.sub(_escape, text)


def visible_lines(text: str) -> str:
    """As `visible`, but its line breaks stay: for a text that is a block of its own."""
    return "\n".join(map(visible, text.split("\n")))


def can_be_seen(text: str) -> bool:
    """Whether it has a letter, digit, sign or symbol that leaves a mark on a page."""
    return _INK.search(text) is not None or any(map(_has_ink, text))


def _has_ink(character: str) -> bool:
    category = unicodedata.category(character)
    return (category[0] not in _WITHOUT_INK or category == "Cn") and not _HIDDEN.match(character)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
