"""The names of areas as they are searched: folded, on a shelf for each kind of unit, with the wrong letter forgiven."""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, islice
from typing import Literal, TypeVar

from rembuk.areas.words import Words

T = TypeVar("T")
Shelved = Literal["province", "kota", "kabupaten", "district", "village"]

SHELVES: dict[Shelved, int] = {
    "province": 2,
    "kota": 4,
    "kabupaten": 4,
    "district": 6,
    "village": 10,
}  # digits
PREFIXES: dict[Shelved, str] = {
    "province": "provinsi|propinsi|prov|daerah khusus ibukota|daerah istimewa|dki|di|d i",
    "kota": "kota administrasi|kota adm|kotamadya|kota",
    "kabupaten": "kabupaten administrasi|kabupaten|kab adm|kab",
    "district": "kecamatan|kec|distrik",
    "village": "kelurahan|kel|desa",
}
LONGEST_QUERY = 100  # characters; the longest name has fewer than 50
FUZZY_CUTOFF = 75.0  # rapidfuzz's ratio, 0 to 100; one wrong letter of four is still a match
FUZZY_SHORTEST = 3  # characters; under that everything resembles everything


class TakesLong(Exception):
    """A search would take longer than a process that answers others should be kept from it."""


class NameIndex:
    """What search needs beyond the records, built at the first search: codes by names."""

    def __init__(self, records: dict[str, str]) -> None:
        rows = shelved(records)
        texts = [compared(name, names) for name, (_, names) in rows.items()]
        self._words = Words("\n".join(["", *texts, ""]))
        begins = accumulate([len(text) + 1 for text in texts], initial=0)
        self._shelves = {
            name: Shelf(SHELVES[name], numbers, self._words, begin)
            for (name, (numbers, _)), begin in zip(rows.items(), begins, strict=False)
        }

    def by_code(self, digits: str, limit: int, within: str) -> list[str]:
        """Codes that begin with these digits, by level, then by code; within is digits too."""
        if not digits or not (digits.startswith(within) or within.startswith(digits)):
            return []
        prefix = max(digits, within, key=len)
        found = [code for s in self._shelves.values() for code in s.codes(s.rows(prefix)[:limit])]
        return sorted(found, key=lambda code: (len(code), code))[:limit]

    def by_name(self, q: str, limit: int, within: str, at_once: bool, is_mended: bool = False) -> list[str]:
        """Codes by name, as Areas.search says; within is digits. What kind of unit it is may be spelt wrong as well,
        and is mended once."""
        shelves = tuple(self._shelves.values())
        folded = fold(q)[:LONGEST_QUERY]
        if not folded:
            return []
        forms: list[Form] = [(folded, shelves)]
        for name, shelf in self._shelves.items():
            if bare := re.fullmatch(rf"(?:{PREFIXES[name]}) (.+)", folded):
                others = tuple(other for other in shelves if other is not shelf)
                forms = [(bare[1], (shelf,)), (folded, shelves), (bare[1], others)]
        spelt = (
            code
            for template in ("\n{}\n", "\n{}", " {}")  # the whole name, its beginning, a word's beginning
            for text, places in forms
            for shelf in places
            for code in shelf.find(template.format(text), within)
        )
        codes = list(islice(distinct(spelt), limit))
        if len(codes) < limit:
            if at_once and not self._words.are_sorted:
                raise TakesLong
            near = self._one_letter_wrong(forms[:2], within)
            if not codes and not near:
                if not is_mended and (right := kind_spelt_right(folded)):
                    return self.by_name(right, limit, within, at_once, is_mended=True)
                if at_once:
                    raise TakesLong
                near = list(islice(alike(forms[:2], limit, within), limit))
            codes = list(islice(distinct(chain(codes, near)), limit))
        return codes

    def _one_letter_wrong(self, forms: list[Form], within: str) -> list[str]:
        """Codes of the names that are the query but for one wrong letter, best first."""
        scored: dict[str, int] = {}
        for text, shelves in forms:
            places = self._words.one_letter_wrong(text) if len(text) >= FUZZY_SHORTEST else []
            for shelf in shelves if places else ():
                for distance, code in shelf.near(places, within):
                    scored.setdefault(code, distance)
        return sorted(scored, key=scored.__getitem__)


class Shelf:
    """Units of one kind: their folded names as one text, a name a line, and beside each row its code.

    A code is kept as its ten digits, padded with zeros, so that any prefix of a code is a range of rows.
    """

    def __init__(self, width: int, numbers: array[int], words: Words, begin: int) -> None:
        """The shelf's names begin in the text of `words` at the line break at `begin`; codes have so many digits."""
        self._numbers = numbers
        self._width = width
        self._words, self._text = words, words.text
        breaks = re.compile("\n").finditer(words.text, begin)
        self._starts = array("I", (line.start() for line in islice(breaks, len(numbers) + 1)))

    def rows(self, digits: str) -> range:
        """The rows whose codes begin with these digits; all rows for none."""
        if not digits:
            return range(len(self._numbers))
        if len(digits) > self._width:
            return range(0)
        low, high = int(digits.ljust(10, "0")), int(digits.ljust(10, "9"))
        return range(bisect_left(self._numbers, low), bisect_right(self._numbers, high))

    def names(self, rows: range) -> list[str]:
        return self._text[self._starts[rows.start] + 1 : self._starts[rows.stop]].split("\n")

    def codes(self, rows: Iterable[int]) -> list[str]:
        digits = [f"{self._numbers[row]:010}"[: self._width] for row in rows]
        return [".".join(filter(None, (d[:2], d[2:4], d[4:6], d[6:]))) for d in digits]

    def near(self, places: Iterable[tuple[int, int]], digits: str) -> Iterator[tuple[int, str]]:
        """Of places, each with a distance, those that are names below these digits, as distance and code."""
        rows = self.rows(digits)
        for place, distance in places:
            if self._starts[rows.start] < place < self._starts[rows.stop]:
                yield distance, self.codes([self._row(place)])[0]

    def find(self, needle: str, digits: str) -> Iterator[str]:
        """Codes of the rows below these digits that hold the needle, which begins with a break or a space, sorted."""
        places = self._words.beginning(needle.strip())
        if places is None:
            places = self._words.beginning(needle[1:])
        if places == []:
            return
        rows = self.rows(digits)
        first, last = self._starts[rows.start], self._starts[rows.stop]
        if places is not None:
            inside = places[bisect_right(places, first) : bisect_left(places, last)]
            found = [self._row(place - 1) for place in inside if self._text.startswith(needle, place - 1)]
            yield from self.codes(distinct(found))
            return
        place = first
        while (place := self._text.find(needle, place, last + 1)) >= 0:
            row = self._row(place)
            yield from self.codes([row])
            place = self._starts[row + 1]

    def _row(self, place: int) -> int:
        """Of which row the text has a place."""
        return bisect_right(self._starts, place) - 1


Form = tuple[str, "tuple[Shelf, ...]"]


def shelved(records: dict[str, str]) -> dict[Shelved, tuple[array[int], str]]:
    """The numbers and the names of each kind of unit, as Shelf takes them."""
    numbers: dict[Shelved, array[int]] = {name: array("Q") for name in SHELVES}
    names: dict[Shelved, list[str]] = {name: [] for name in SHELVES}
    for code, record in records.items():
        name, _, villages = record.partition("\n")
        shelf: Shelved = "kota" if name.startswith("Kota ") else "kabupaten"
        if len(code) != SHELVES["kota"] + 1:
            shelf = "province" if len(code) == 2 else "district"
        number = int(code.replace(".", "").ljust(10, "0"))
        numbers[shelf].append(number)
        names[shelf].append(name)
        if villages:
            lines = villages.split("\n")
            numbers["village"].extend([number + int(line[1:5]) for line in lines])
            names["village"].append("\n".join([line[5:] for line in lines]))
    return {name: (numbers[name], "\n".join(names[name])) for name in SHELVES}


def compared(name: Shelved, names: str) -> str:
    """Names of a kind, a line each, folded; without the kind in front, but of districts and villages, where 'Kota' or
    'Di' belongs to the name."""
    folded = fold(names)
    return folded if name in ("district", "village") else re.sub(rf"^(?:{PREFIXES[name]}) ", "", folded, flags=re.M)


def alike(forms: list[Form], limit: int, within: str) -> Iterator[str]:
    """Codes of the names spelt most like the query, best first; compares 91,599 names at worst (10 ms)."""
    from rapidfuzz import fuzz, process  # 5 MB that only a search without enough answers needs

    scored: list[tuple[float, str]] = []
    for text, shelves in forms:
        for shelf in shelves if len(text) >= FUZZY_SHORTEST else ():
            rows = shelf.rows(within)
            for part in (rows[start : start + 5_000] for start in range(0, len(rows), 5_000)):
                names = shelf.names(part)
                hits = process.extract(text, names, scorer=fuzz.ratio, score_cutoff=FUZZY_CUTOFF, limit=limit)
                codes = shelf.codes(part[row] for _, _, row in hits)
                scored += zip((-score for _, score, _ in hits), codes, strict=True)
    yield from (code for _, code in sorted(scored, key=lambda pair: pair[0]))


def kind_spelt_right(folded: str) -> str | None:
    """A query whose first words are a kind of unit but for one wrong letter, with these words spelt right."""
    from rapidfuzz.distance import Levenshtein

    kinds = sorted("|".join(PREFIXES.values()).split("|"), key=len, reverse=True)
    for kind in (f"{kind} " for kind in kinds if len(kind) >= FUZZY_SHORTEST):
        for end in (len(kind), len(kind) - 1, len(kind) + 1):
            if Levenshtein.distance(folded[:end], kind, score_cutoff=1) == 1:
                return kind + folded[end:].lstrip()
    return None


def fold(text: str) -> str:
    """Names as compared: small ASCII letters and digits in words parted by one space; lines stay lines."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    words = re.sub(r"[^a-z0-9\n]+", " ", re.sub(r"['`\"]", "", plain))
    return re.sub(r"^ | $", "", words, flags=re.MULTILINE)


def distinct(these: Iterable[T]) -> Iterator[T]:
    seen: set[T] = set()
    for one in these:
        if one not in seen:
            seen.add(one)
            yield one
