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
from rembuk.contracts.forums import ForumHeld
from rembuk.contracts.reports import ProblemReported, SolutionApplied
from rembuk.database import Unavailable
from rembuk.event import Recorded
from rembuk.handling import derive_id
from rembuk.reactions import React, Wish

from notifications import phrases, projection
from notifications.commands import RaiseAlert
from notifications.domain import ALERT, area_and_above, reaches

NAME = "alerts"

_PATIENCE_S = 5.0
_REMEMBER = """insert into known_problem (id, category) select * from unnest($1::uuid[], $2::text[])
               on conflict do nothing"""
_KNOWN = "select id, category from known_problem where id = any($1)"
_BEHIND = """select (select position from log.head) as head,
             (select position from checkpoint where follower = $1 and stream = $2) as projected"""
_SUBSCRIBERS = """select id, area, categories, confirmed_at from subscription
                  where status = 'confirmed' and area = any($1) order by id"""
_codes = msgspec.json.Decoder(tuple[str, ...]).decode


class Subscriber(NamedTuple):
    """Who may have to be told."""

    id: UUID
    categories: tuple[str, ...]
    confirmed_at: datetime


def alerts(ours: str) -> React:
    """The reaction to the streams of reports and forums; `ours` is the name of our own stream.

    Recipients are those whose subscription was confirmed before the event was recorded, so a stream that is read
    again, or for the first time after years, alerts nobody to what was long ago.
    """

    async def react(facts: Sequence[Recorded[Any]], connection: asyncpg.Connection[Any]) -> list[list[Wish]]:
        drafts = await _drafts(facts, connection)
        wanted = {code for draft in drafts if draft for code in area_and_above(draft.area)}
        subscribers: dict[str, list[Subscriber]] = {}
        if wanted:
            await _caught_up(connection, ours)
            for row in await connection.fetch(_SUBSCRIBERS, list(wanted)):
                subscriber = Subscriber(row["id"], _codes(row["categories"]), row["confirmed_at"])
                subscribers.setdefault(row["area"], []).append(subscriber)
        if not subscribers:
            return [[] for _ in facts]
        return [_wishes(fact, draft, subscribers) if draft else [] for fact, draft in zip(facts, drafts, strict=True)]

    return react


async def _drafts(facts: Sequence[Recorded[Any]], connection: asyncpg.Connection[Any]) -> list[RaiseAlert | None]:
    """For each event the alert it gives rise to, its recipients still open; None where the public is not told.

    A solution's event does not repeat what its problem was about, so what may be spoken of is remembered as it is
    reported: a problem that is not among the known ones is confidential.
    """
    spoken_of = [
        (fact.stream_id, fact.event.category)
        for fact in facts
        if isinstance(fact.event, ProblemReported) and is_public(fact.event)
    ]
    if spoken_of:
        await connection.execute(_REMEMBER, *map(list, zip(*spoken_of, strict=True)))
    solved = [fact.stream_id for fact in facts if isinstance(fact.event, SolutionApplied)]
    known: dict[UUID, str] = {}
    if solved:
        known = {row["id"]: row["category"] for row in await connection.fetch(_KNOWN, solved)}
    return [draft(fact, known) for fact in facts]


def is_public(reported: ProblemReported) -> bool:
    """Whether anything at all may be said of the problem to whoever subscribes."""
    category = CATEGORIES.get(reported.category)
    return category is not None and not category.sensitive and reported.disclosure in ("public", "forum")


def draft(fact: Recorded[Any], known: dict[UUID, str]) -> RaiseAlert | None:
    """The alert that one event gives rise to; `known` has the categories of the problems that may be spoken of."""
    match fact.event:
        case ProblemReported() as event if is_public(event):
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
        case SolutionApplied() as event if fact.stream_id in known:
            category = known[fact.stream_id]
            headline, text = phrases.solution_applied(fact.area, category, event)
            return RaiseAlert(
                area=fact.area,
                headline=headline,
                text=text,
                urgency="past",
                certainty="observed",
                category=category,
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


def _wishes(fact: Recorded[Any], alert: RaiseAlert, subscribers: dict[str, list[Subscriber]]) -> list[Wish]:
    recipients = tuple(
        subscriber.id
        for code in area_and_above(alert.area)
        for subscriber in subscribers.get(code, ())
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
