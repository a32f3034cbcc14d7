"""What notifications does by itself when another service speaks: whoever subscribed to the place is alerted, and an
alert that is not so any more is withdrawn."""

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
from rembuk.contracts.notifications import WithdrawalReason
from rembuk.contracts.reports import (
    ProblemClosed,
    ProblemHandedOver,
    ProblemRejected,
    ProblemReopened,
    ProblemReported,
    SolutionApplied,
)
from rembuk.events.event import RecordedEvent
from rembuk.events.ids import derive_id
from rembuk.flow.reactions import React, Wish
from rembuk.flow.standing import position_and_time
from rembuk.log.standing import last_position
from rembuk.postgres.database import Unavailable

from notifications import phrases, projection
from notifications.commands import RaiseAlert, WithdrawAlert
from notifications.domain import ALERT, area_and_above, one_of_each_contact, reaches

NAME = "alerts"

_PATIENCE_S = 5.0
_SUBSCRIBERS = """select id, area, categories, contact,
                         case when confirmed_at > now() then now() - interval '10 minutes' else confirmed_at end
                             as confirmed_at from subscription
                  where status = 'confirmed' and area = any($1) order by id"""
_TOLD = """select id, about, source_type, area, category,
                  array(select subscription_id from delivery
                        where alert_id = alert.id and state in ('sent', 'queued', 'failed')
                        order by number) as recipients,
                  exists (select from delivery
                          where alert_id = alert.id and state in ('queued', 'failed', 'given_up')) as unsent
           from alert where about = any($1) and source_id is not null order by position"""
_OUTDATED: dict[type[Any], tuple[str, ...]] = {
    ProblemRejected: ("ProblemReported",),
    SolutionApplied: ("ProblemReported", "ProblemRejected"),
    ProblemClosed: ("ProblemReported", "SolutionApplied"),
    ProblemReopened: ("ProblemRejected", "SolutionApplied"),
    ProblemHandedOver: ("ProblemReported", "ProblemRejected", "SolutionApplied"),
}
"""What an event of a problem leaves untrue or late of what was said of it: alerts by the type of their source."""
_codes = msgspec.json.Decoder(tuple[str, ...]).decode


class Subscriber(NamedTuple):
    """Who may have to be told."""

    id: UUID
    categories: tuple[str, ...]
    contact: bytes
    confirmed_at: datetime


class SentAlert(NamedTuple):
    """An alert about a problem, to whom it went or may still go, and whether it may still go to somebody."""

    id: UUID
    source_type: str
    area: str
    category: str
    recipients: Sequence[UUID]
    unsent: bool


def alerts(ours: str) -> React:
    """The reaction to the streams of reports and forums; `ours` is the name of our own stream.

    Recipients are those whose subscription was confirmed before the event was recorded, so a stream that is read
    again, or for the first time after years, alerts nobody to what was long ago. Who confirmed while our log's time was
    ahead of the clock is told what others record now.
    """

    async def react(facts: Sequence[RecordedEvent[Any]], connection: asyncpg.Connection[Any]) -> list[list[Wish]]:
        wanted = {code for area in {fact.area for fact in facts} for code in area_and_above(area)}
        await _caught_up(connection, ours)
        subscribers: dict[str, list[Subscriber]] = {}
        for row in await connection.fetch(_SUBSCRIBERS, list(wanted)):
            subscriber = Subscriber(row["id"], _codes(row["categories"]), row["contact"], row["confirmed_at"])
            subscribers.setdefault(row["area"], []).append(subscriber)
        told: dict[UUID, list[SentAlert]] = {}
        ended = {fact.stream_id for fact in facts if type(fact.event) in _OUTDATED}
        for row in await connection.fetch(_TOLD, list(ended)) if ended else ():
            told.setdefault(row["about"], []).append(SentAlert(*(row[name] for name in SentAlert._fields)))
        raised = but_for_outdated(facts, [_wishes(fact, subscribers) for fact in facts])
        return [
            [*wishes, *_withdrawals(fact, told.get(fact.stream_id, ()))]
            for fact, wishes in zip(facts, raised, strict=True)
        ]

    return react


def _is_public(event: ProblemReported | SolutionApplied) -> bool:
    return may_see("public", event.category, event.disclosure)


def draft(fact: RecordedEvent[Any]) -> RaiseAlert | None:
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


def _wishes(fact: RecordedEvent[Any], subscribers: dict[str, list[Subscriber]]) -> list[Wish]:
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


def but_for_outdated(facts: Sequence[RecordedEvent[Any]], raised: Sequence[list[Wish]]) -> Sequence[list[Wish]]:
    """What each fact raises an alert of, but for what a later one of them leaves untrue."""
    outdated: set[tuple[UUID, str]] = set()
    left = []
    for fact, wishes in zip(reversed(facts), reversed(raised), strict=True):
        left.append([wish for wish in wishes if (fact.stream_id, wish.command.source_type) not in outdated])
        outdated |= {(fact.stream_id, source) for source in _OUTDATED.get(type(fact.event), ())}
    return left[::-1]


def _withdrawals(fact: RecordedEvent[Any], told: Sequence[SentAlert]) -> list[Wish]:
    """What ends the alerts about a problem that an event of it leaves untrue, and tells so to whom they were sent."""
    wishes = []
    for alert in told:
        if alert.source_type not in _OUTDATED.get(type(fact.event), ()):
            continue
        rejected = isinstance(fact.event, ProblemRejected)
        reason: WithdrawalReason = "rejected" if rejected else "superseded"
        if rejected or alert.unsent:
            wishes.append(Wish(ALERT, alert.id, WithdrawAlert(reason), f"withdraw {alert.id}"))
        if rejected and alert.recipients:
            correction = _correction(fact, alert)
            wishes.append(
                Wish(ALERT, derive_id("alert", fact.id, alert.id), correction, f"correct {alert.id}", new=True)
            )
    return wishes


def _correction(fact: RecordedEvent[ProblemRejected], alert: SentAlert) -> RaiseAlert:
    headline, text = phrases.report_rejected(alert.area, alert.category, fact.event.code)
    return RaiseAlert(
        area=alert.area,
        headline=headline,
        text=text,
        recipients=tuple(alert.recipients),
        urgency="past",
        certainty="observed",
        category=alert.category,
        about=fact.stream_id,
        source_id=fact.id,
        source_type="ProblemRejected",
        corrects=alert.id,
    )


async def _caught_up(connection: asyncpg.Connection[Any], ours: str) -> None:
    """Return when the rows show every subscription confirmed until now; raises Unavailable after 5 s."""
    head = None
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        head = await last_position(connection) if head is None else head
        projected, _ = await position_and_time(connection, projection.NAME, ours)
        if projected >= head:
            return
        if time.monotonic() > deadline:
            raise Unavailable("subscriptions are not projected yet")
        await asyncio.sleep(0.02)
