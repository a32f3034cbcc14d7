"""What may happen to an alert."""

from __future__ import annotations

from typing import assert_never

import msgspec
from rembuk.contracts.disclosure import may_see
from rembuk.contracts.notifications import AlertEvent, AlertRaised, AlertWithdrawn, RecipientsAdded
from rembuk.events.decider import Decider, Refused

from notifications.commands import AlertCommand, RaiseAlert, WithdrawAlert
from notifications.domain.words import known_category

RECIPIENTS = 5_000
"""In one event: 200 kB of JSON."""


class Unraised(msgspec.Struct, frozen=True):
    """There is no such alert."""


class InForce(msgspec.Struct, frozen=True):
    """People are being told."""

    area: str


class Withdrawn(msgspec.Struct, frozen=True):
    """What it says is not so any more: whoever has not been told is not told."""

    area: str


Alert = Unraised | InForce | Withdrawn


def decide_alert(command: AlertCommand, state: Alert) -> list[AlertEvent]:
    """The events a wish leads to in a state; raises Refused with the rule it breaks."""
    match command:
        case RaiseAlert():
            return raise_alert(command, state)
        case WithdrawAlert():
            return withdraw_alert(command, state)
        case _:
            assert_never(command)


def raise_alert(command: RaiseAlert, state: Alert) -> list[AlertEvent]:
    """The alert with its recipients, each once, in as many events as they need."""
    if not isinstance(state, Unraised):
        raise Refused("already-raised")
    if command.category:
        known_category(command.category, "category")
        if not may_see("public", command.category, "public"):
            raise Refused("sensitive-category", f"nobody is alerted of {command.category}", field="category")
    recipients = tuple(dict.fromkeys(command.recipients))
    return [
        AlertRaised(
            area=command.area,
            headline=command.headline,
            text=command.text,
            recipients=recipients[:RECIPIENTS],
            severity=command.severity,
            urgency=command.urgency,
            certainty=command.certainty,
            category=command.category,
            about=command.about,
            source_id=command.source_id,
            source_type=command.source_type,
            corrects=command.corrects,
        ),
        *(
            RecipientsAdded(recipients[start : start + RECIPIENTS])
            for start in range(RECIPIENTS, len(recipients), RECIPIENTS)
        ),
    ]


def withdraw_alert(command: WithdrawAlert, state: Alert) -> list[AlertEvent]:
    match state:
        case Unraised():
            raise Refused("unknown-alert")
        case InForce():
            return [AlertWithdrawn(command.reason)]
        case Withdrawn():
            return []  # whoever asks twice has what he wants
        case _:
            assert_never(state)


def evolve_alert(state: Alert, event: AlertEvent) -> Alert:
    """The state after an event."""
    match event:
        case AlertRaised():
            return InForce(event.area)
        case RecipientsAdded():
            return state
        case AlertWithdrawn():
            assert not isinstance(state, Unraised), "an alert begins by being raised"
            return Withdrawn(state.area)
        case _:
            assert_never(event)


def _area_of(state: Alert) -> str:
    return "" if isinstance(state, Unraised) else state.area


ALERT: Decider[AlertCommand, Alert, AlertEvent] = Decider(
    Unraised(), decide_alert, evolve_alert, _area_of, AlertEvent.__args__
)
