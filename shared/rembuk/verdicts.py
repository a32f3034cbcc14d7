"""What a verification tells: how far it is, what is wrong and where, and what it has seen."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["log", "heads", "stream"]


class Verifying(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    """How far it is, and how far it has to be."""

    position: int
    target: int


class Wrong(msgspec.Struct, frozen=True, tag_field="kind", tag="wrong"):
    """Something is not as it was recorded, signed or published: at a position, or up to it where that is said."""

    what: Kind
    said: str
    position: int


class Verified(msgspec.Struct, frozen=True, tag_field="kind", tag="verified"):
    """The log ends at `events`, the last sound head covers `signed` of them, `heads` there are; the stream holds
    `published`. So much was wrong, what is told one by one included."""

    events: int
    signed: int
    heads: int
    published: int
    wrong: int
