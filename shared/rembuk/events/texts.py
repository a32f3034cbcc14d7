"""Whose eyes a text is for: each one of an event is declared sealed, enclosed, public or a code; a test sees to it. And
what it takes to be one: something that eyes can see."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, get_type_hints

import msgspec

from rembuk.events.decider import Refused
from rembuk.events.visible import can_be_seen

SEALED, ENCLOSED, PUBLIC, CODE = "sealed", "enclosed", "public", "code"

Sealed = Annotated[str, SEALED]
"""What identifies somebody, or may: `sealed:v1:...` (see `rembuk.sealing.vault`), "" for nothing."""
Enclosed = Annotated[str, ENCLOSED]
"""What another region alone is to read, sealed for its public key (see `rembuk.keys.referral_key`): nobody here can
open it, and erasing somebody here does not close it there."""
Public = Annotated[str, PUBLIC]
"""In clear, for everybody and for ever; whoever writes it is told to name nobody."""
Code = Annotated[str, CODE]
"""A word of a fixed form: an area, a category, a role with an opaque id."""


def require_ink(wish: object, field: str = "") -> None:
    """Refuses, for its field, a text of a command in which nothing can be seen: an optional one is left out instead."""
    if isinstance(wish, str):
        if wish and not can_be_seen(wish):
            raise Refused("invisible-text", "a text needs a character that can be seen", field=field or "body")
    elif isinstance(wish, tuple):
        for index, one in enumerate(wish):
            require_ink(one, f"{field}[{index}]")
    else:
        for name in _fields(type(wish)):  # type: ignore[arg-type]
            require_ink(getattr(wish, name), f"{field}.{name}" if field else name)


@cache
def _fields(kind: type[Any]) -> tuple[str, ...]:
    """Of a struct; () for any other type. To ask what is a struct takes longer than to look at its texts."""
    fields: tuple[str, ...] = kind.__struct_fields__ if issubclass(kind, msgspec.Struct) else ()
    return fields


@cache
def sealed_fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of an event that are sealed, or of a command whose text is sealed before it is recorded."""
    return _declared(kind, SEALED)


def confidential_fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of an event that not everybody can read: sealed, or enclosed for another region."""
    return sealed_fields(kind) + _declared(kind, ENCLOSED)


def _declared(kind: type[msgspec.Struct], word: str) -> tuple[str, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple([name for name in kind.__struct_fields__ if word in getattr(hints[name], "__metadata__", ())])
