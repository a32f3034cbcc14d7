"""Names in order, to find those that begin with something, have a word that does, or have one wrong letter."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property

LONGEST = 50
"""Characters by which names are put in order."""


class Words:
    """Of a text with a name a line: a line break before each and after the last."""

    def __init__(self, text: str) -> None:
        self._text = text
        at = [found.end() for found in re.finditer("[\n ]", text)][:-1]
        self._at = array("I", sorted(at, key=lambda start: text[start : start + LONGEST]))

    def beginning(self, needle: str) -> array[int]:
        """Where a word begins from which on a line reads as the needle, which may end in the line's break."""
        return self._range(self._at, needle, lambda start: self._text[start : start + len(needle)])

    def one_letter_wrong(self, name: str) -> Iterator[int]:
        """Where a whole name begins that may be `name` with a letter too many, too few or another one. What is left of
        the wrong letter is as it should be, or what is right of it: one half of `name` is."""
        half = len(name) // 2
        text = self._text
        for start in self.beginning(name[:half]):
            if text[start - 1] == "\n" and abs(text.index("\n", start) - start - len(name)) <= 1:
                yield start
        rest = name[half:][::-1]
        for end in self._range(self._ends, rest, lambda end: text[end - len(rest) : end][::-1]):
            start = text.rindex("\n", 0, end) + 1
            if abs(end - start - len(name)) <= 1:
                yield start

    @cached_property
    def _ends(self) -> array[int]:
        """Of the lines, in the order of their letters from the last to the first."""
        text = self._text
        at = [found.start() for found in re.finditer("\n", text)][1:]
        return array("I", sorted(at, key=lambda end: text[max(end - LONGEST, 0) : end][::-1]))

    @staticmethod
    def _range(places: array[int], needle: str, key: object) -> array[int]:
        low = bisect_left(places, needle, key=key)  # type: ignore[call-overload]
        return places[low : bisect_right(places, needle, lo=low, key=key)]  # type: ignore[call-overload]
