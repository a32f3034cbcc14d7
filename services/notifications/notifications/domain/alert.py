"""What may happen to an alert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from rembuk.contracts.disclosure import may_see
from rembuk.contracts.notifications import AlertEvent, AlertRaised, RecipientsAdded
from rembuk.decider import Decider, Refused

from notifications.commands import RaiseAlert
from notifications.domain.words import known_category

RECIPIENTS = 5_000
"""In one event: 200 kB of JSON."""


@dataclass(frozen=True, slots=True)
class Unraised:
    """There is no such alert."""


@dataclass(frozen=True, slots=True)
class Raised:
    """People are being told."""

    area: str


Alert = Unraised | Raised


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
        ),
        *(
            RecipientsAdded(recipients[start : start + RECIPIENTS])
            for start in range(RECIPIENTS, len(recipients), RECIPIENTS)
        ),
    ]


def evolve_alert(state: Alert, event: AlertEvent) -> Alert:
    """The state after an event."""
    match event:
        case AlertRaised():
            return Raised(event.area)
        case RecipientsAdded():
            return state
        case _:
            assert_never(event)


def _area_of(state: Alert) -> str:
    return "" if isinstance(state, Unraised) else state.area


ALERT: Decider[RaiseAlert, Alert, AlertEvent] = Decider(
    Unraised(), raise_alert, evolve_alert, _area_of, AlertEvent.__args__
)
