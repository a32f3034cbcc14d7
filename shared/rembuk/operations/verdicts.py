"""What a verification tells: how far it is, what is wrong and where, and what it has seen."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

Kind = Literal["log", "heads", "stream", "followers", "keys"]


class Verifying(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    """How far it is, and how far it has to be."""

    position: int
    target: int


class Wrong(msgspec.Struct, frozen=True, tag_field="kind", tag="wrong"):
    """Something is not as it was recorded, signed or published: at a position, or up to it where that is said; 0 where
    it is at none."""

    what: Kind
    said: str
    position: int


class Skipped(msgspec.Struct, frozen=True, tag_field="kind", tag="skipped"):
    """An event of the stream that a follower never takes, as somebody has decided: no replay shows what it would do."""

    follower: str
    stream: str
    position: int
    type: str
    why: str
    by_whom: str
    skipped_at: datetime


class Verified(msgspec.Struct, frozen=True, tag_field="kind", tag="verified"):
    """The log ends at `events`, the last sound head covers `signed` of them, `heads` there are; the stream holds
    `published`. So much was wrong, what is told one by one included. `lost` is of how many persons the log says that
    their keys were lost: what was sealed under these is closed for good, and nobody wanted that."""

    events: int
    signed: int
    heads: int
    published: int
    wrong: int
    lost: int = 0
