"""Who may be told of a problem: the one rule that every service's read model, list and alert applies. What this release
does not know, a category or a disclosure of a newer one, is for nobody."""

from __future__ import annotations

from typing import Literal

from rembuk.contracts.categories import CATEGORIES

Audience = Literal["public", "forum"]
"""Everybody; or the members of a forum, too."""

_DISCLOSED_TO: dict[Audience, frozenset[str]] = {
    "public": frozenset({"public"}),
    "forum": frozenset({"public", "forum"}),
}
SHOWN = len("35.78")
"""How much of an area's code everybody may know of a problem that is not public: its regency."""


def may_see(audience: Audience, category: str, disclosure: str) -> bool:
    """Whether an audience may know the category, the village and the texts of a problem. Nobody of it may where the
    category is sensitive, whatever the reporter allows."""
    known = CATEGORIES.get(category)
    return known is not None and not known.sensitive and disclosure in _DISCLOSED_TO[audience]


def shown_area(area: str) -> str:
    """What everybody may know of the area of a problem that is not public: its regency, or the wider area."""
    return area[:SHOWN]
