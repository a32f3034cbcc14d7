"""Words that subscriptions and alerts share: which category there is, and in which areas an area lies."""

from __future__ import annotations

from rembuk.contracts.categories import CATEGORIES
from rembuk.events.decider import Refused


def known_category(code: str, field: str) -> None:
    """Raises Refused for a category that there is not."""
    if code not in CATEGORIES:
        raise Refused("unknown-category", f"there is no category {code}", field=field)


def area_and_above(area: str) -> list[str]:
    """The codes of an area and everything it lies in: "35.78.08" gives 35, 35.78 and 35.78.08."""
    levels = area.split(".")
    return [".".join(levels[:count]) for count in range(1, len(levels) + 1)]
