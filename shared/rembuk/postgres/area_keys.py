"""What the areas of rows have in common at each level, as indexes have it and lists ask for it: in the index of its
level an area, however large, is one range, in which its rows are in the order of a page."""

from __future__ import annotations

from sqlalchemy import Index, text

AREA_KEYS = {2: "left(area, 2)", 5: "left(area, 5)", 8: "left(area, 8)", 13: "area"}
"""By the length of an area's code."""
LEVEL_NAMES = dict(zip(AREA_KEYS, ("province", "regency", "district", "village"), strict=True))


def lies_in(area: str | None) -> dict[str, str | None]:
    """What equals an area in the rows that lie in it; nothing where no area is asked for."""
    return {} if area is None else {AREA_KEYS[len(area)]: area}


def area_indexes(table: str, *columns: str, where: str | None = None) -> list[Index]:
    """An index a level, in which the rows of an area and of equal `columns` but the last are in the order of that;
    `where` says which rows it has."""
    some = None if where is None else text(where)
    return [
        Index(f"{table}_{LEVEL_NAMES[length]}", text(key), *columns, postgresql_where=some)
        for length, key in AREA_KEYS.items()
    ]
