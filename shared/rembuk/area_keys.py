"""What the areas of rows have in common at each level, as indexes have it and lists ask for it: in the index of its
level an area, however large, is one range, in which its rows are in the order of a page."""

from __future__ import annotations

from sqlalchemy import Column, ColumnElement, Index, Text, literal_column, text

AREA_KEYS = {2: "left(area, 2)", 5: "left(area, 5)", 8: "left(area, 8)", 13: "area"}
"""By the length of an area's code."""
_LEVELS = dict(zip(AREA_KEYS, ("province", "regency", "district", "village"), strict=True))


def lies_in(column: Column[str], area: str) -> ColumnElement[bool]:
    """Whether a row's area is `area` or lies below it."""
    return column == area if len(area) == 13 else literal_column(AREA_KEYS[len(area)], Text) == area


def area_indexes(table: str, *columns: str) -> list[Index]:
    """An index a level, in which the rows of an area and of equal `columns` but the last are in the order of that."""
    return [Index(f"{table}_{_LEVELS[length]}", text(key), *columns) for length, key in AREA_KEYS.items()]
