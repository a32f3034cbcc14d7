"""Names in order, to find those that begin with something, have a word that does, or have one wrong letter."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import cached_property, lru_cache

FEW = 2_000
LONGEST = 50
"""Characters by which names are put in order."""


class Words:
    """Of a text with a name a line: a line break before each and after the last."""

    def __init__(self, text: str) -> None:
        self.text = text
        at = [found.end() for found in re.finditer("[\n ]", text)][:-1]
        self._at = array("I", sorted(at, key=lambda start: text[start : start + LONGEST]))
        self.beginning = lru_cache(maxsize=8)(self._beginning)
        """As `_beginning`; a search asks the same again for each kind of unit."""

    def _beginning(self, needle: str) -> list[int] | None:
        """Where words begin from which on a line reads as the needle, which may end in the line's break; None where
        these are more than a `FEW`, and reading on finds the first ones sooner."""
        low, high = self._range(self._at, needle, lambda start: self.text[start : start + len(needle)])
        return sorted(self._at[low:high]) if high - low <= FEW else None

    @property
    def are_sorted(self) -> bool:
        """Whether what `one_letter_wrong` looks in has been made, which takes half a second."""
        return "_by_length" in vars(self)

    def one_letter_wrong(self, name: str) -> list[tuple[int, int]]:
        """Where the names begin that are `name` but for a letter too many, too few or, after these, another one; and
        how many letters are wrong: 0 or 1. What is left of the wrong letter is as it should be, or what is right of it:
        one half of `name` is, and few names of about its length have that half."""
        from rapidfuzz import process  # 3.5 MB that only a search without enough answers needs
        from rapidfuzz.distance import Levenshtein

        text, by_length, starts = self.text, self._by_length, set[int]()
        left, right = name[: len(name) // 2], name[len(name) // 2 :][::-1]
        for length in (len(name), len(name) + 1, len(name) - 1):
            if length in by_length:
                begins, ends = by_length[length]
                low, high = self._range(begins, left, lambda begin: text[begin : begin + len(left)])
                starts.update(begins[low:high])
                low, high = self._range(ends, right, lambda end: text[end - len(right) : end][::-1])
                starts.update([end - length for end in ends[low:high]])
        places = sorted(starts)
        names = [text[start : text.index("\n", start)] for start in places]
        near = process.extract(name, names, scorer=Levenshtein.distance, score_cutoff=1, limit=None)
        likelier_first = sorted(near, key=lambda found: (len(found[0]) == len(name), found[2]))
        return [(places[number], distance) for _, distance, number in likelier_first]

    @cached_property
    def _by_length(self) -> dict[int, tuple[array[int], array[int]]]:
        """Of the names of each length where they begin, in the order of their letters; and where they end, in the order
        of their letters from the last to the first."""
        text = self.text
        spans = [line.span() for line in re.finditer("[^\n]+", text)]
        made = {length: (array("I"), array("I")) for length in {end - begin for begin, end in spans}}
        for begin, end in sorted(spans, key=lambda span: text[span[0] : span[1]]):
            made[end - begin][0].append(begin)
        for begin, end in sorted(spans, key=lambda span: text[span[0] : span[1]][::-1]):
            made[end - begin][1].append(end)
        return made

    @staticmethod
    def _range(places: array[int], needle: str, key: Callable[[int], str]) -> tuple[int, int]:
        low = bisect_left(places, needle, key=key)
        return low, bisect_right(places, needle, lo=low, key=key)
