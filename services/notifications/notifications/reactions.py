"""What notifications does by itself when another service speaks: whoever subscribed to the place is alerted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.disclosure import may_see
from rembuk.contracts.forums import ForumHeld
from rembuk.contracts.reports import ProblemReported, SolutionApplied
from rembuk.database import Unavailable
from rembuk.event import Recorded
from rembuk.ids import derive_id
from rembuk.reactions import React, Wish

from notifications import phrases, projection
from notifications.commands import RaiseAlert
from notifications.domain import ALERT, area_and_above, one_of_each_contact, reaches

NAME = "alerts"

_PATIENCE_S = 5.0
_BEHIND = """select (select position from log.head) as head,
             (select position from checkpoint where follower = $1 and stream = $2) as projected"""
_SUBSCRIBERS = """select id, area, categories, contact, confirmed_at from subscription
                  where status = 'confirmed' and area = any($1) order by id"""
_codes = msgspec.json.Decoder(tuple[str, ...]).decode


class Subscriber(NamedTuple):
    """Who may have to be told."""

    id: UUID
    categories: tuple[str, ...]
    contact: bytes
    confirmed_at: datetime


def alerts(ours: str) -> React:
    """The reaction to the streams of reports and forums; `ours` is the name of our own stream.

    Recipients are those whose subscription was confirmed before the event was recorded, so a stream that is read
    again, or for the first time after years, alerts nobody to what was long ago.
    """

    async def react(facts: Sequence[Recorded[Any]], connection: asyncpg.Connection[Any]) -> list[list[Wish]]:
        wanted = {code for area in {fact.area for fact in facts} for code in area_and_above(area)}
        await _caught_up(connection, ours)
        subscribers: dict[str, list[Subscriber]] = {}
        for row in await connection.fetch(_SUBSCRIBERS, list(wanted)):
            subscriber = Subscriber(row["id"], _codes(row["categories"]), row["contact"], row["confirmed_at"])
            subscribers.setdefault(row["area"], []).append(subscriber)
        if not subscribers:
            return [[] for _ in facts]
        return [_wishes(fact, subscribers) for fact in facts]

    return react


def _is_public(event: ProblemReported | SolutionApplied) -> bool:
    return may_see("public", event.category, event.disclosure)


def draft(fact: Recorded[Any]) -> RaiseAlert | None:
    """The alert that one event gives rise to, its recipients still open; None where the public is not told."""
    match fact.event:
        case ProblemReported() as event if _is_public(event):
            headline, text = phrases.problem_reported(event.area, event.category)
            urgent = CATEGORIES[event.category].deadlines == "urgent"
            return RaiseAlert(
                area=event.area,
                headline=headline,
                text=text,
                severity="moderate" if urgent else "minor",
                urgency="immediate" if urgent else "expected",
                certainty="possible",
                category=event.category,
                about=fact.stream_id,
                recipients=(),
            )
        case SolutionApplied() as event if _is_public(event):
            headline, text = phrases.solution_applied(fact.area, event)
            return RaiseAlert(
                area=fact.area,
                headline=headline,
                text=text,
                urgency="past",
                certainty="observed",
                category=event.category,
                about=fact.stream_id,
                recipients=(),
            )
        case ForumHeld() as event:
            headline, text = phrases.forum_held(event)
            return RaiseAlert(
                area=event.area,
                headline=headline,
                text=text,
                urgency="past",
                certainty="observed",
                about=fact.stream_id,
                recipients=(),
            )
        case _:
            return None


def _wishes(fact: Recorded[Any], subscribers: dict[str, list[Subscriber]]) -> list[Wish]:
    near = [subscriber for code in reversed(area_and_above(fact.area)) for subscriber in subscribers.get(code, ())]
    alert = draft(fact) if near else None
    if alert is None:
        return []
    recipients = one_of_each_contact(
        (subscriber.id, subscriber.contact)
        for subscriber in near
        if subscriber.confirmed_at <= fact.recorded_at and reaches(subscriber.categories, alert.category)
    )
    if not recipients:
        return []
    command = msgspec.structs.replace(
        alert, recipients=recipients, source_id=fact.id, source_type=type(fact.event).__name__
    )
    return [Wish(ALERT, derive_id("alert", fact.id), command, "raise", new=True)]


async def _caught_up(connection: asyncpg.Connection[Any], ours: str) -> None:
    """Return when the rows show every subscription confirmed until now; raises Unavailable after 5 s."""
    head = None
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        row = await connection.fetchrow(_BEHIND, projection.NAME, ours)
        assert row is not None
        head = row["head"] if head is None else head
        if (row["projected"] or 0) >= head:
            return
        if time.monotonic() > deadline:
            raise Unavailable("subscriptions are not projected yet")
        await asyncio.sleep(0.02)
