"""The categories of problems: data (categories.json), looked up by code."""

from __future__ import annotations

from importlib.resources import files

import msgspec


class Category(msgspec.Struct, frozen=True):
    """One kind of problem. `deadlines` names its profile of deadlines; `sensitive` ones are never on public output;
    a solution to a `crime` needs an officer among its partners."""

    code: str
    id: str
    en: str
    deadlines: str = "ordinary"
    sensitive: bool = False
    crime: bool = False


CATEGORIES: dict[str, Category] = {
    category.code: category
    for category in msgspec.json.decode(
        files("rembuk.contracts").joinpath("categories.json").read_bytes(), type=list[Category]
    )
}


def may_be_crime(category: str) -> bool:
    """Whether a solution needs an officer; of a category that this release does not know it is taken to."""
    known = CATEGORIES.get(category)
    return known is None or known.crime
