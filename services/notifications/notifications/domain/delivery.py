"""What may happen to a delivery: attempts in their order, an end, and being asked for again after it."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

import msgspec
from msgspec.structs import replace
from rembuk.contracts.notifications import (
    DeliveryCalledOff,
    DeliveryEvent,
    DeliveryFailed,
    DeliveryGivenUp,
    DeliveryRequeued,
    DeliverySent,
)
from rembuk.events.decider import Decider, Refused
from rembuk.events.ids import derive_id

from notifications.commands import CallOff, DeliveryCommand, GiveUp, MarkFailed, MarkSent, SendAgain


class Past(msgspec.Struct, frozen=True):
    """How often it was tried, sent, and asked for again by its subscriber, in all."""

    area: str = ""
    attempts: int = 0
    sendings: int = 0
    asked: int = 0


class Pending(msgspec.Struct, frozen=True):
    """To be sent; `before` of its attempts were made before it was asked for again."""

    past: Past = Past()
    before: int = 0


class Sent(msgspec.Struct, frozen=True):
    """Its channel took it."""

    past: Past


class GivenUp(msgspec.Struct, frozen=True):
    """Tried often enough, or refused for good."""

    past: Past


class CalledOff(msgspec.Struct, frozen=True):
    """Not to be sent any more."""

    past: Past


Delivery = Pending | Sent | GivenUp | CalledOff


def decide_delivery(command: DeliveryCommand, state: Delivery) -> list[DeliveryEvent]:
    """The outcome of an attempt, recorded in the order of attempts and never after the last; or one more beginning."""
    if isinstance(command, SendAgain):
        return send_again(command, state)
    if not isinstance(state, Pending):
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
        case CallOff():
            return [DeliveryCalledOff(*whom, state.past.attempts, command.reason, parcel.alert_id)]
        case _:
            assert_never(command)


def send_again(command: SendAgain, state: Delivery) -> list[DeliveryEvent]:
    """Once, however often it is asked before it is sent: an operator has sent what was given up, a subscriber his code
    whatever became of it."""
    parcel = command.parcel
    match state:
        case Pending():
            return []
        case CalledOff():
            raise Refused("no-longer-to-be-sent")
        case Sent() if command.by == "operator":
            raise Refused("already-sent")
        case Sent() | GivenUp():
            return [DeliveryRequeued(parcel.area, parcel.subscription_id, command.by, parcel.alert_id)]
        case _:
            assert_never(state)


def evolve_delivery(state: Delivery, event: DeliveryEvent) -> Delivery:
    """The state after an event."""
    past = replace(state.past, area=event.area)
    match event:
        case DeliveryFailed():
            assert isinstance(state, Pending), "what is settled is not tried"
            return replace(state, past=replace(past, attempts=event.attempt))
        case DeliverySent():
            return Sent(replace(past, attempts=event.attempt, sendings=past.sendings + 1))
        case DeliveryGivenUp():
            return GivenUp(replace(past, attempts=event.attempt))
        case DeliveryCalledOff():
            return CalledOff(past)
        case DeliveryRequeued():
            return Pending(replace(past, asked=past.asked + (event.by == "subscriber")), before=past.attempts)
        case _:
            assert_never(event)


def _next_attempt(attempt: int, state: Pending) -> None:
    if attempt != state.past.attempts + 1:
        raise Refused("not-the-next-attempt")


def _area_of(state: Delivery) -> str:
    return state.past.area


DELIVERY: Decider[DeliveryCommand, Delivery, DeliveryEvent] = Decider(
    Pending(), decide_delivery, evolve_delivery, _area_of, DeliveryEvent.__args__
)


def delivery_id(alert_id: UUID | None, subscription_id: UUID) -> UUID:
    """The one delivery of an alert (None: of the code that confirms) to a subscription, wherever it is named."""
    return derive_id("delivery", alert_id or "confirmation", subscription_id)
