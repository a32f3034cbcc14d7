"""Whose eyes a text is for: each text of an event is declared sealed, public, or a code, and a test sees to it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, get_type_hints

import msgspec

SEALED, PUBLIC, CODE = "sealed", "public", "code"

Sealed = Annotated[str, SEALED]
"""What identifies somebody, or may: `sealed:v1:...` (see `rembuk.vault`), "" for nothing."""
Public = Annotated[str, PUBLIC]
"""In clear, for everybody and for ever; whoever writes it is told to name nobody."""
Code = Annotated[str, CODE]
"""A word of a fixed form: an area, a category, a role with an opaque id."""


@cache
def sealed_fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of an event that are sealed, or of a command whose text is sealed before it is recorded."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple([name for name in kind.__struct_fields__ if SEALED in getattr(hints[name], "__metadata__", ())])
