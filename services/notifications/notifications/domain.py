"""What may happen to a subscription, an alert and a delivery. Pure: no clock, no database, no network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.disclosure import may_see
from rembuk.contracts.notifications import (
    AlertEvent,
    AlertRaised,
    ConfirmationRefused,
    DeliveryEvent,
    DeliveryFailed,
    DeliveryGivenUp,
    DeliverySent,
    RecipientsAdded,
    SubscriptionConfirmed,
    SubscriptionEvent,
    SubscriptionRequested,
    SubscriptionStopped,
)
from rembuk.contracts.privacy import Ground, PersonErased
from rembuk.decider import Decider, Refused
from rembuk.ids import derive_id

from notifications.commands import (
    ConfirmSubscription,
    DeliveryCommand,
    GiveUp,
    MarkFailed,
    MarkSent,
    RaiseAlert,
    RequestSubscription,
    StopSubscription,
    SubscriptionCommand,
)

WRONG_CODES = 5
"""How many wrong codes are taken: of 100,000,000 possible ones."""
RECIPIENTS = 5_000
"""In one event: 200 kB of JSON."""


@dataclass(frozen=True, slots=True)
class Unrequested:
    """Nobody asked for it."""


@dataclass(frozen=True, slots=True)
class Requested:
    """Its contact was sent a code and has not shown it yet."""

    area: str
    wrong_codes: int = 0


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Its contact is told what happens."""

    area: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing is sent any more."""

    area: str


Subscription = Unrequested | Requested | Confirmed | Stopped


def decide_subscription(command: SubscriptionCommand, state: Subscription) -> list[SubscriptionEvent]:
    """The events a wish leads to in a state; raises Refused with the rule it breaks."""
    match command:
        case RequestSubscription():
            return request_subscription(command, state)
        case ConfirmSubscription():
            return confirm_subscription(command, state)
        case StopSubscription():
            return stop_subscription(command, state)
        case _:
            assert_never(command)


def request_subscription(command: RequestSubscription, state: Subscription) -> list[SubscriptionEvent]:
    if not isinstance(state, Unrequested):
        raise Refused("already-requested")
    for category in command.categories:
        _known_category(category, "categories")
    return [SubscriptionRequested(command.area, command.channel, command.contact, command.categories, command.language)]


def confirm_subscription(command: ConfirmSubscription, state: Subscription) -> list[SubscriptionEvent]:
    match state:
        case Unrequested():
            raise Refused("unknown-subscription")
        case Requested() if state.wrong_codes >= WRONG_CODES:
            raise Refused("too-many-wrong-codes", "subscribe again to get another code")
        case Requested():
            return [SubscriptionConfirmed() if command.right else ConfirmationRefused()]
        case Confirmed():
            raise Refused("already-confirmed")
        case Stopped():
            raise Refused("already-stopped")
        case _:
            assert_never(state)


def stop_subscription(command: StopSubscription, state: Subscription) -> list[SubscriptionEvent]:
    match state:
        case Unrequested():
            raise Refused("unknown-subscription")
        case Requested() | Confirmed():
            ground: Ground = "request" if command.reason == "asked" else "other"
            return [
                PersonErased(state.area, command.subscription_id, ground),
                SubscriptionStopped(command.reason),
            ]
        case Stopped():
            return []  # whoever asks twice has what he wants
        case _:
            assert_never(state)


def evolve_subscription(state: Subscription, event: SubscriptionEvent) -> Subscription:
    """The state after an event."""
    match event:
        case SubscriptionRequested():
            return Requested(event.area)
        case _:
            assert not isinstance(state, Unrequested), "a subscription begins by being requested"
    match event:
        case ConfirmationRefused():
            assert isinstance(state, Requested), "only what waits for its code refuses one"
            return replace(state, wrong_codes=state.wrong_codes + 1)
        case SubscriptionConfirmed():
            return Confirmed(state.area)
        case PersonErased():
            return state  # it is stopped in the same breath
        case SubscriptionStopped():
            return Stopped(state.area)
        case _:
            assert_never(event)


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
        _known_category(command.category, "category")
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


@dataclass(frozen=True, slots=True)
class Due:
    """To be sent, after so many attempts that failed."""

    attempts: int = 0
    area: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """Sent or given up: nothing is left to do."""

    area: str


Delivery = Due | Settled


def decide_delivery(command: DeliveryCommand, state: Delivery) -> list[DeliveryEvent]:
    """The outcome of an attempt, recorded in the order of attempts and never after the last."""
    if isinstance(state, Settled):
        raise Refused("already-settled")
    parcel = command.parcel
    whom = (parcel.area, parcel.subscription_id)
    match command:
        case MarkSent():
            _next_attempt(command.attempt, state)
            return [DeliverySent(*whom, command.attempt, parcel.alert_id)]
        case MarkFailed():
            _next_attempt(command.attempt, state)
            return [DeliveryFailed(*whom, command.attempt, command.reason, parcel.alert_id)]
        case GiveUp():
            return [DeliveryGivenUp(*whom, command.attempt, command.reason, parcel.alert_id)]
        case _:
            assert_never(command)


def evolve_delivery(_: Delivery, event: DeliveryEvent) -> Delivery:
    """The state after an event."""
    match event:
        case DeliveryFailed():
            return Due(event.attempt, event.area)
        case DeliverySent() | DeliveryGivenUp():
            return Settled(event.area)
        case _:
            assert_never(event)


def _next_attempt(attempt: int, state: Due) -> None:
    if attempt != state.attempts + 1:
        raise Refused("not-the-next-attempt")


def _known_category(code: str, field: str) -> None:
    if code not in CATEGORIES:
        raise Refused("unknown-category", f"there is no category {code}", field=field)


def _area_of(state: Subscription | Alert | Delivery) -> str:
    return "" if isinstance(state, (Unrequested, Unraised)) else state.area


SUBSCRIPTION: Decider[SubscriptionCommand, Subscription, SubscriptionEvent] = Decider(
    Unrequested(), decide_subscription, evolve_subscription, _area_of, (SubscriptionRequested,)
)
ALERT: Decider[RaiseAlert, Alert, AlertEvent] = Decider(
    Unraised(), raise_alert, evolve_alert, _area_of, AlertEvent.__args__
)
DELIVERY: Decider[DeliveryCommand, Delivery, DeliveryEvent] = Decider(
    Due(), decide_delivery, evolve_delivery, _area_of, DeliveryEvent.__args__
)


def reaches(categories: tuple[str, ...], category: str) -> bool:
    """Whether an alert of `category` ("": of none, for everybody) is for a subscription to these (none: all)."""
    return not category or not categories or category in categories


def one_of_each_contact(subscriptions: Iterable[tuple[UUID, bytes]]) -> tuple[UUID, ...]:
    """The first subscription of each contact, by its mark; a contact that has none yet is one of its own."""
    return tuple({mark or id: id for id, mark in reversed(list(subscriptions))}.values())[::-1]


def delivery_id(alert_id: UUID | None, subscription_id: UUID) -> UUID:
    """The one delivery of an alert (None: of the code that confirms) to a subscription, wherever it is named."""
    return derive_id("delivery", alert_id or "confirmation", subscription_id)


def area_and_above(area: str) -> list[str]:
    """The codes of an area and everything it lies in: "35.78.08" gives 35, 35.78 and 35.78.08."""
    levels = area.split(".")
    return [".".join(levels[:count]) for count in range(1, len(levels) + 1)]
