"""What people may write into a wish: texts by their size, and codes of areas; checked as JSON is decoded."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

_NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"  # PostgreSQL's text takes everything but NUL
_NO_NUL = r"^[^\x00]*$"

Title = Annotated[str, Meta(min_length=3, max_length=200, pattern=_NOT_BLANK)]
"""One line that something is known by."""
Text = Annotated[str, Meta(min_length=3, max_length=4000, pattern=_NOT_BLANK)]
"""What has to be said."""
Note = Annotated[str, Meta(max_length=2000, pattern=_NO_NUL)]
"""What may be said, or left out."""
Words = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NOT_BLANK)]
"""A name, or anything as short."""
AreaCode = Annotated[
    str, Meta(pattern=r"^\d\d(\.\d\d(\.\d\d(\.\d{4})?)?)?$", max_length=13, examples=["35.78.08.1004"])
]
"""The form of a Kemendagri code; `rembuk.areas` knows whether there is such an area."""
