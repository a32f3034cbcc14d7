"""What may happen to a subscription."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never
from uuid import UUID

import msgspec
from msgspec.structs import replace
from rembuk.contracts.notifications import (
    ConfirmationRefused,
    StoppedBecause,
    SubscriptionConfirmed,
    SubscriptionEvent,
    SubscriptionRequested,
    SubscriptionStopped,
)
from rembuk.contracts.privacy import Ground, PersonErased
from rembuk.events.decider import Decider, Refused

from notifications.commands import ConfirmSubscription, RequestSubscription, StopSubscription, SubscriptionCommand
from notifications.domain.words import known_category

GROUNDS: dict[StoppedBecause, Ground] = {"asked": "request", "gone": "other", "expired": "retention"}
"""On which ground a contact is erased."""
WRONG_CODES = 5
"""How many wrong codes are taken: of 100,000,000 possible ones."""


class Unrequested(msgspec.Struct, frozen=True):
    """Nobody asked for it."""


class Requested(msgspec.Struct, frozen=True):
    """Its contact was sent a code and has not shown it yet."""

    area: str
    wrong_codes: int = 0


class Confirmed(msgspec.Struct, frozen=True):
    """Its contact is told what happens."""

    area: str


class Stopped(msgspec.Struct, frozen=True):
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
        known_category(category, "categories")
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
        case Confirmed() if command.reason == "expired":
            raise Refused("already-confirmed")
        case Requested() | Confirmed():
            return [
                PersonErased(state.area, command.subscription_id, GROUNDS[command.reason]),
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


def waits_for_code(state: Subscription) -> bool:
    """Whether the right code would confirm it."""
    return isinstance(state, Requested) and state.wrong_codes < WRONG_CODES


def _area_of(state: Subscription) -> str:
    return "" if isinstance(state, Unrequested) else state.area


SUBSCRIPTION: Decider[SubscriptionCommand, Subscription, SubscriptionEvent] = Decider(
    Unrequested(), decide_subscription, evolve_subscription, _area_of, (SubscriptionRequested,)
)


def reaches(categories: tuple[str, ...], category: str) -> bool:
    """Whether an alert of `category` ("": of none, for everybody) is for a subscription to these (none: all)."""
    return not category or not categories or category in categories


def one_of_each_contact(subscriptions: Iterable[tuple[UUID, bytes]]) -> tuple[UUID, ...]:
    """The first subscription of each contact, by its mark; a contact that has none yet is one of its own."""
    return tuple({mark or id: id for id, mark in reversed(list(subscriptions))}.values())[::-1]
