"""The administrative areas of Indonesia by their Kemendagri code: look up, walk up and down, search.

Source: npm idn-area-data 4.0.1 (ODbL 1.0, see NOTICE), compiled into areas.bin by areas_compile.py.
"""

import functools
import re
import unicodedata
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Literal, Self

import msgspec

from rembuk.area_words import Words

Level = Literal["province", "regency", "district", "village"]
Kind = Literal["kelurahan", "desa", "desa adat"]
Shelved = Literal["province", "kota", "kabupaten", "district", "village"]

LEVELS: dict[int, Level] = {2: "province", 5: "regency", 8: "district", 13: "village"}  # by length of code
KINDS: dict[str, Kind] = {
    "1": "kelurahan",
    "2": "desa",
    "3": "desa adat",
}  # by the village number's first digit
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
MOST_RESULTS = 100
MOST_COMMAS = 4  # each part is a search of its own
FUZZY_CUTOFF = 75.0  # rapidfuzz's ratio, 0 to 100; one wrong letter of four is still a match
FEW = 2_000  # places of a word: more are found sooner by reading on
FUZZY_SHORTEST = 3  # characters; under that everything resembles everything


class Area(msgspec.Struct, frozen=True, gc=False):
    """One unit: code "35.78.08", name as people write it ("Kota Surabaya"), level."""

    code: str
    name: str
    level: Level

    @property
    def kind(self) -> Kind | None:
        """What sort of village this is; None on the other levels."""
        return KINDS[self.code[9]] if self.level == "village" else None


class Areas:
    """All 38 provinces, 514 regencies, 7,285 districts and 83,762 villages, sorted by code.

    Every method but `in` and `search` raises KeyError for an unknown code.

    Loading takes 9 ms and keeps 2.5 MB. The first search builds its index (a second on a busy machine);
    the first that looks for names spelt alike loads rapidfuzz (40 ms, 3.5 MB); then a search takes
    up to 2 ms, with one wrong letter too; where there is no such name either, names spelt alike
    take 10 to 20 ms. `in` takes 0.2 to 0.6 us, 1.5 us in the largest district. Measured on CPython
    3.11 and Linux with perf_counter and timeit; what load keeps with tracemalloc (Rss in
    /proc/self/smaps_rollup grows by 1.3 MB in a fresh process, by 2.7 MB on average over six loads
    in one), the rest with that Rss.
    """

    def __init__(self, records: dict[str, str]) -> None:
        """records: code of a province, regency or district -> record as laid out in areas_compile.py."""
        self._records = records
        self._codes = list(records)

    @classmethod
    def load(cls) -> Self:
        """Read areas.bin. Raises OSError, zlib.error or ValueError when the installation is damaged."""
        text = zlib.decompress(Path(__file__).with_name("areas.bin").read_bytes()).decode("utf-8")
        fields = iter(text.split("\t"))
        return cls(dict(zip(fields, fields, strict=True)))

    def __len__(self) -> int:
        return len(self._codes) + sum(record.count("\n") for record in self._records.values())

    def __iter__(self) -> Iterator[str]:
        """Every code, sorted, so that a unit comes right before what lies in it."""
        for code, record in self._records.items():
            yield code
            yield from (code + line[:5] for line in record.split("\n")[1:])

    def __contains__(self, code: str) -> bool:
        """Whether there is such a unit; any string will do, garbage is not contained."""
        record = self._records.get(code[:8])
        if record is None:
            return False
        return len(code) <= 8 or (len(code) == 13 and "\n" + code[8:] in record)

    def __getitem__(self, code: str) -> Area:
        if code not in self:
            raise KeyError(f"no area has the code {code[:20]!r}")
        record, number = self._records[code[:8]], code[8:]
        start = record.index("\n" + number) + 6 if number else 0
        end = record.find("\n", start)
        return Area(code, record[start : end if end >= 0 else None], LEVELS[len(code)])

    def parent(self, code: str) -> Area | None:
        """The unit right above; None for a province."""
        above = self[code].code.rpartition(".")[0]
        return self[above] if above else None

    def ancestors(self, code: str) -> list[Area]:
        """The unit itself, then everything above it up to the province."""
        area = self[code]
        return [area, *(self[code[:end]] for end in (8, 5, 2) if end < len(code))]

    def full_name(self, code: str) -> str:
        """'Gubeng, Kota Surabaya, Jawa Timur'."""
        return ", ".join(area.name for area in self.ancestors(code))

    def children(self, code: str | None) -> list[Area]:
        """The units right below, sorted by code; None gives the provinces, a village has none."""
        if code is None:
            return [self[c] for c in self._codes if len(c) == 2]
        match self[code].level:
            case "village":
                return []
            case "district":
                return self.villages(code)
            case _:
                return [self[c] for c in self._below(code) if len(c) == len(code) + 3]

    def villages(self, code: str) -> list[Area]:
        """All villages in the unit, sorted by code; a village gives itself."""
        if self[code].level == "village":
            return [self[code]]
        return [
            Area(district + line[:5], line[5:], "village")
            for district in self._below(code)
            for line in self._records[district].split("\n")[1:]
        ]

    def search(self, q: str, limit: int = 10, within: str | None = None) -> list[Area]:
        """The units that q may mean, best first, at most `limit` (and never more than 100).

        Digits and dots are the beginning of a code ("35.7", "3578"). Anything else is a name: equal names
        first, then those that begin with q, then those with a word that does, then those spelt alike; among
        equals province, kota, kabupaten, district, village. Case, accents and punctuation do not count.
        A kind in front ("Kab.", "kota", "Kec.") puts that kind first; "Gubeng, Surabaya" looks in Surabaya.
        `within` leaves only that unit and what lies in it; KeyError when it is unknown. No q is an error.
        """
        inside = self[within].code.replace(".", "") if within is not None else ""
        q = " ".join(q[:LONGEST_QUERY].split())
        limit = min(limit, MOST_RESULTS)
        if limit <= 0 or not q:
            return []
        if not q.strip("0123456789."):
            return self._index.by_code(q.replace(".", ""), limit, inside)
        name, _, place = q.partition(", ")
        if name and place and q.count(", ") <= MOST_COMMAS and (found := self.search(place, 1, within)):
            above = found[0].code
            return [area for area in self.search(name, limit + 1, above) if area.code != above][:limit]
        return self._index.by_name(q, limit, inside)

    def _below(self, code: str) -> list[str]:
        """Codes of the unit and of all but the villages in it; '/' is the character after '.'."""
        return self._codes[bisect_left(self._codes, code) : bisect_left(self._codes, code + "/")]

    @functools.cached_property
    def _index(self) -> "Index":
        return Index(self, self._records)


class Index:
    """What search needs beyond the records, built at the first search."""

    def __init__(self, areas: Areas, records: dict[str, str]) -> None:
        self._areas = areas
        self._shelves = {name: Shelf(name, *rows) for name, rows in shelved(records).items()}

    def by_code(self, digits: str, limit: int, within: str) -> list[Area]:
        """Units whose code begins with these digits, by level, then by code; within is digits too."""
        if not digits or not (digits.startswith(within) or within.startswith(digits)):
            return []
        prefix = max(digits, within, key=len)
        found = [code for s in self._shelves.values() for code in s.codes(s.rows(prefix)[:limit])]
        return [self._areas[code] for code in sorted(found, key=lambda code: (len(code), code))[:limit]]

    def by_name(self, q: str, limit: int, within: str, is_mended: bool = False) -> list[Area]:
        """Units by name, as Areas.search says; within is digits. What kind of unit it is may be spelt wrong as well,
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
            near = list(one_letter_wrong(forms[:2], within))
            if not codes and not near:
                if not is_mended and (right := kind_spelt_right(folded)):
                    return self.by_name(right, limit, within, is_mended=True)
                near = list(islice(alike(forms[:2], limit, within), limit))
            codes = list(islice(distinct(chain(codes, near)), limit))
        return [self._areas[code] for code in codes]


class Shelf:
    """Units of one kind: their folded names as one text, a name a line, and beside each row its code.

    A code is kept as its ten digits, padded with zeros, so that any prefix of a code is a range of rows.
    """

    def __init__(self, name: Shelved, numbers: "array[int]", names: str) -> None:
        """names: a line break before each and after the last."""
        self._numbers = numbers
        self._width = SHELVES[name]
        self._text = "\n".join(["", *fold(names).split("\n"), ""])
        if name not in ("district", "village"):  # there 'Kota' or 'Di' belongs to the name
            self._text = re.sub(rf"\n(?:{PREFIXES[name]}) ", "\n", self._text)
        self._starts = array("I", (line.start() for line in re.finditer("\n", self._text)))

    def rows(self, digits: str) -> range:
        """The rows whose codes begin with these digits; all rows for none."""
        if len(digits) > self._width:
            return range(0)
        low, high = int(digits.ljust(10, "0")), int(digits.ljust(10, "9"))
        return range(bisect_left(self._numbers, low), bisect_right(self._numbers, high))

    def names(self, rows: range) -> list[str]:
        return self._text[self._starts[rows.start] + 1 : self._starts[rows.stop]].split("\n")

    def codes(self, rows: Iterable[int]) -> list[str]:
        digits = [f"{self._numbers[row]:010}"[: self._width] for row in rows]
        return [".".join(filter(None, (d[:2], d[2:4], d[4:6], d[6:]))) for d in digits]

    @functools.cached_property
    def _words(self) -> Words:
        return Words(self._text)

    def near(self, name: str, digits: str) -> Iterator[tuple[str, str]]:
        """Names below these digits that may be `name` with one wrong letter, and their codes."""
        rows = self.rows(digits)
        for start in self._words.one_letter_wrong(name):
            row = bisect_right(self._starts, start) - 1
            if row in rows:
                yield self._text[start : self._text.index("\n", start)], self.codes([row])[0]

    def find(self, needle: str, digits: str) -> Iterator[str]:
        """Codes of the rows below these digits that hold the needle, which begins with a break or a space, sorted."""
        rows = self.rows(digits)
        if not rows:
            return
        places = self._words.beginning(needle[1:])
        if len(places) <= FEW:
            found = {bisect_right(self._starts, at - 1) - 1 for at in places if self._text[at - 1] == needle[0]}
            yield from self.codes(sorted(row for row in found if row in rows))
            return
        place, end = self._starts[rows.start], self._starts[rows.stop] + 1
        while (place := self._text.find(needle, place, end)) >= 0:
            row = bisect_right(self._starts, place) - 1
            yield from self.codes([row])
            place = self._starts[row + 1]


Form = tuple[str, tuple[Shelf, ...]]  # a way to read the query, and the shelves to look on, in this order


def shelved(records: dict[str, str]) -> dict[Shelved, tuple["array[int]", str]]:
    """The numbers and the names of each kind of unit, as Shelf takes them."""
    numbers: dict[Shelved, array[int]] = {name: array("Q") for name in SHELVES}
    names: dict[Shelved, list[str]] = {name: [] for name in SHELVES}
    for code, record in records.items():
        name, _, villages = record.partition("\n")
        level = LEVELS[len(code)]
        shelf = level if level != "regency" else "kota" if name.startswith("Kota ") else "kabupaten"
        number = int(code.replace(".", "").ljust(10, "0"))
        numbers[shelf].append(number)
        names[shelf].append(name)
        if villages:
            lines = villages.split("\n")
            numbers["village"].extend([number + int(line[1:5]) for line in lines])
            names["village"].append("\n".join([line[5:] for line in lines]))
    return {name: (numbers[name], "\n".join(names[name])) for name in SHELVES}


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


def one_letter_wrong(forms: list[Form], within: str) -> Iterator[str]:
    """Codes of the names that are the query but for one wrong letter, best first."""
    from rapidfuzz.distance import Levenshtein

    scored: dict[str, int] = {}
    for text, shelves in forms:
        for shelf in shelves if len(text) >= FUZZY_SHORTEST else ():
            for name, code in shelf.near(text, within):
                if (distance := Levenshtein.distance(text, name, score_cutoff=1)) <= 1:
                    scored.setdefault(code, distance)
    yield from sorted(scored, key=scored.__getitem__)


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


def distinct(codes: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for code in codes:
        if code not in seen:
            seen.add(code)
            yield code


@functools.cache
def areas() -> Areas:
    """The areas of this process, read at the first call."""
    return Areas.load()
