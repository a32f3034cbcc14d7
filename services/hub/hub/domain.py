"""How a region's stream stands at the hub, judged by what one look after another found. Pure: no clock, no network.

The nats-server's own word is not asked: it calls a mirror level that has lost its origin (nats-server #8346).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

State = Literal["level", "behind", "cut_off", "stalled", "diverged"]

STALLED_AFTER = timedelta(seconds=45)
"""nats-server may take 20 s to notice that a mirror of its has stalled, and pause for 10 before it goes on (2.15.1)."""


class Look(msgspec.Struct, frozen=True):
    """What was found at a moment: the last position of the mirror, of what is shown, and of the region's own stream
    (None where the region did not answer), and where that one holds another event than the mirror."""

    at: datetime
    position: int
    shown: int
    region_position: int | None
    diverged_at: int | None = None


class MirrorStanding(msgspec.Struct, frozen=True):
    """How the stream stands, and since when. `region_position` is the last one known, `moved_at` since when the mirror
    could have moved and has not."""

    state: State
    since: datetime
    position: int
    shown: int
    region_position: int
    moved_at: datetime
    looked_at: datetime
    answered_at: datetime | None
    diverged_at: int | None


def standing(before: MirrorStanding | None, look: Look, stalled_after: timedelta = STALLED_AFTER) -> MirrorStanding:
    """How it stands after a look.

    A region that ends before what we hold, or holds something else there, has `diverged`: its history is another one,
    which stays so until it is again what we hold. `cut_off` is one that does not answer."""
    known = look.region_position if look.region_position is not None else before.region_position if before else 0
    held = before is not None and _waits(before) and before.position == look.position < known
    moved_at = before.moved_at if before is not None and held and look.region_position is not None else look.at
    state = _state(look, look.at - moved_at >= stalled_after)
    return MirrorStanding(
        state=state,
        since=before.since if before is not None and before.state == state else look.at,
        position=look.position,
        shown=look.shown,
        region_position=known,
        moved_at=moved_at,
        looked_at=look.at,
        answered_at=look.at if look.region_position is not None else before.answered_at if before else None,
        diverged_at=look.diverged_at,
    )


def _waits(before: MirrorStanding) -> bool:
    """Whether the mirror had something to fetch, and somebody to fetch it from."""
    return before.answered_at == before.looked_at and before.region_position > before.position


def _state(look: Look, unmoved: bool) -> State:
    if look.diverged_at is not None:
        return "diverged"
    if look.region_position is None:
        return "cut_off"
    if look.region_position < max(look.position, look.shown):
        return "diverged"
    if look.region_position > look.position and unmoved:
        return "stalled"
    return "behind" if look.region_position > min(look.position, look.shown) else "level"
