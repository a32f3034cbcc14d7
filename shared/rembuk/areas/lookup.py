"""The administrative areas of Indonesia by their Kemendagri code: look up, walk up and down, search.

Source: npm idn-area-data 4.0.1 (ODbL 1.0, see NOTICE), compiled into areas.bin by areas_compile.py.
"""

import functools
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import msgspec

from rembuk.areas.index import LONGEST_QUERY, NameIndex, TakesLong

Level = Literal["province", "regency", "district", "village"]
Kind = Literal["kelurahan", "desa", "desa adat"]

LEVELS: dict[int, Level] = {2: "province", 5: "regency", 8: "district", 13: "village"}  # by length of code
KINDS: dict[str, Kind] = {
    "1": "kelurahan",
    "2": "desa",
    "3": "desa adat",
}  # by the village number's first digit
MOST_RESULTS = 100
MOST_COMMAS = 4  # each part is a search of its own


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
    0.3 ms, with one wrong letter too, and at most 2; where there is no such name either, names spelt alike
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

    def search(self, q: str, limit: int = 10, within: str | None = None, *, at_once: bool = False) -> list[Area]:
        """The units that q may mean, best first, at most `limit` (and never more than 100).

        Digits and dots are the beginning of a code ("35.7", "3578"). Anything else is a name: equal names
        first, then those that begin with q, then those with a word that does, then those spelt alike; among
        equals province, kota, kabupaten, district, village. Case, accents and punctuation do not count.
        A kind in front ("Kab.", "kota", "Kec.") puts that kind first; "Gubeng, Surabaya" looks in Surabaya.
        `within` leaves only that unit and what lies in it; KeyError when it is unknown. No q is an error.
        `at_once` raises TakesLong, within a millisecond or two, for what may take longer.
        """
        if at_once and "_index" not in vars(self):
            raise TakesLong
        inside = self[within].code.replace(".", "") if within is not None else ""
        q = " ".join(q[:LONGEST_QUERY].split())
        limit = min(limit, MOST_RESULTS)
        if limit <= 0 or not q:
            return []
        if not q.strip("0123456789."):
            return [self[code] for code in self._index.by_code(q.replace(".", ""), limit, inside)]
        name, _, place = q.partition(", ")
        if (
            name
            and place
            and q.count(", ") <= MOST_COMMAS
            and (found := self.search(place, 1, within, at_once=at_once))
        ):
            above = found[0].code
            inside_it = self.search(name, limit + 1, above, at_once=at_once)
            return [area for area in inside_it if area.code != above][:limit]
        return [self[code] for code in self._index.by_name(q, limit, inside, at_once)]

    def _below(self, code: str) -> list[str]:
        """Codes of the unit and of all but the villages in it; '/' is the character after '.'."""
        return self._codes[bisect_left(self._codes, code) : bisect_left(self._codes, code + "/")]

    @functools.cached_property
    def _index(self) -> NameIndex:
        return NameIndex(self._records)


@functools.cache
def areas() -> Areas:
    """The areas of this process, read at the first call."""
    return Areas.load()
