"""What people may write into a wish: texts by their size, and codes; checked as JSON is decoded, refused in words."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from rembuk.events.texts import SEALED

RULES: dict[str, str] = {}
"""What each pattern asks for, as an answer says it to people."""


def pattern(regex: str, rule: str) -> str:
    """The pattern for a `Meta`, with its rule kept for whoever breaks it.

    It has to mean the same to Python as to ECMA-262, which readers of our OpenAPI documents go by: `[0-9]` for the
    digits, and `(?!\\n)$` for the end, which `$` alone is before a last line break too.
    """
    RULES[regex] = rule
    return regex


_BLANK = r"\s\x01-\x20\x7f-\xa0\ufeff"  # with what only one of the dialects takes for white space
NOT_BLANK = pattern(rf"^[{_BLANK}]*[^{_BLANK}\x00][^\x00]*$", "must not be blank, nor contain the character NUL")
NO_NUL = pattern(r"^[^\x00]*$", "must not contain the character NUL")  # PostgreSQL's text takes everything else
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
ONE_LINE = pattern(
    rf"^[^{_CONTROLS}]*[^{_BLANK}\x00\u2028\u2029][^{_CONTROLS}]*(?!\n)$",
    "must be one line, not blank, without control characters",
)
ONE_LINE_OR_NOTHING = pattern(rf"^[^{_CONTROLS}]*(?!\n)$", "must be one line without control characters")
AREA_CODE = pattern(
    r"^[0-9]{2}(\.[0-9]{2}(\.[0-9]{2}(\.[0-9]{4})?)?)?(?!\n)$", "not an area code such as 35.78.08.1004"
)
REGION_NAME = pattern(r"^[a-z][a-z0-9]{1,15}(?!\n)$", "not a region's name such as jatim")
CATEGORY_CODE = pattern(r"^[a-z_]{1,40}(?!\n)$", "not a category's code such as theft")

_PUBLIC = "Shown to everybody: name nobody"
Title = Annotated[str, Meta(min_length=3, max_length=200, pattern=ONE_LINE, description=_PUBLIC)]
"""One line that something is known by."""
Text = Annotated[str, Meta(min_length=3, max_length=4000, pattern=NOT_BLANK, description=_PUBLIC)]
"""What has to be said."""
Note = Annotated[str, Meta(max_length=2000, pattern=NO_NUL, description=_PUBLIC)]
"""What may be said, or left out."""
_CONFIDENCE = Meta(description="In confidence: sealed before it is recorded")
SealedText = Annotated[Text, _CONFIDENCE, SEALED]
SealedNote = Annotated[Note, _CONFIDENCE, SEALED]
"""The same, where nobody but who asks for it and says why is shown it: sealed before it is recorded."""
Words = Annotated[str, Meta(min_length=1, max_length=200, pattern=ONE_LINE)]
"""A name, or anything as short."""
RegionName = Annotated[str, Meta(pattern=REGION_NAME, examples=["jateng"])]
AreaCode = Annotated[str, Meta(pattern=AREA_CODE, max_length=13, examples=["35.78.08.1004"])]
"""The form of a Kemendagri code; `rembuk.areas.lookup` knows whether there is such an area."""
CategoryCode = Annotated[str, Meta(pattern=CATEGORY_CODE, examples=["theft"])]
"""The form of a category's code; `rembuk.contracts.categories` knows whether there is such a category."""
