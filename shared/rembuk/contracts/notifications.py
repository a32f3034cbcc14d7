"""What the service `notifications` publishes: subscriptions, alerts, and what became of each delivery."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from rembuk.codec import Codec
from rembuk.event import Event

Channel = Literal["email", "webhook"]
Language = Literal["id", "en"]
Severity = Literal["minor", "moderate", "severe", "extreme"]
Urgency = Literal["future", "expected", "immediate"]
Certainty = Literal["possible", "likely", "observed"]


class SubscriptionRequested(Event, frozen=True):
    """Somebody wants to be told about an area and everything below it; nothing is sent before it is confirmed.

    `contact` (address or URL) and a webhook's `secret` are sealed; `code_hash` is the BLAKE2b digest of the code that
    confirms. `categories` () means all.
    """

    area: str
    channel: Channel
    contact: str
    code_hash: str
    categories: tuple[str, ...] = ()
    language: Language = "id"
    secret: str = ""


class SubscriptionConfirmed(Event, frozen=True):
    """The contact's owner showed the code."""


class SubscriptionStopped(Event, frozen=True):
    """No more is sent."""


class AlertRaised(Event, frozen=True):
    """Something that people of an area are to know, from an officer or from an event of another service (`source`
    names its id and type). Severity, urgency and certainty as in CAP 1.2. `recipients` are the subscriptions it
    goes to, each by one delivery."""

    area: str
    headline: str
    text: str
    recipients: tuple[UUID, ...]
    severity: Severity = "minor"
    urgency: Urgency = "expected"
    certainty: Certainty = "likely"
    category: str = ""
    about: UUID | None = None
    source_id: UUID | None = None
    source_type: str = ""


class DeliveryQueued(Event, frozen=True):
    """It will be sent to a subscription; recorded before the first attempt."""

    alert_id: UUID
    subscription_id: UUID
    channel: Channel
    area: str


class DeliverySent(Event, frozen=True):
    """The channel took it, at the n-th attempt."""

    attempt: int


class DeliveryFailed(Event, frozen=True):
    """The n-th attempt failed; it is tried again later."""

    attempt: int
    reason: str


class DeliveryGivenUp(Event, frozen=True):
    """Tried often enough, or refused for good: parked for the operator, never dropped."""

    attempts: int
    reason: str


SubscriptionEvent = SubscriptionRequested | SubscriptionConfirmed | SubscriptionStopped
AlertEvent = AlertRaised
DeliveryEvent = DeliveryQueued | DeliverySent | DeliveryFailed | DeliveryGivenUp

CODEC = Codec((*SubscriptionEvent.__args__, AlertRaised, *DeliveryEvent.__args__))
