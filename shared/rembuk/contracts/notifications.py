"""What the service `notifications` publishes: subscriptions, alerts, and what became of each delivery."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from rembuk.contracts.privacy import PersonErased, PrivacyEvent
from rembuk.events.codec import Codec
from rembuk.events.event import Event
from rembuk.events.texts import Code, Public, Sealed

Channel = Literal["email", "webhook"]
Language = Literal["id", "en"]
StoppedBecause = Literal["asked", "gone", "expired"]
CallOffReason = Literal["stopped", "withdrawn", "nothing_to_correct"]
WithdrawalReason = Literal["rejected", "superseded"]
RequeuedBy = Literal["operator", "subscriber"]
Severity = Literal["minor", "moderate", "severe", "extreme"]
Urgency = Literal["past", "future", "expected", "immediate"]
Certainty = Literal["possible", "likely", "observed"]


class SubscriptionRequested(Event, frozen=True):
    """Somebody wants to be told about an area and everything below it; nothing but a code is sent before it is
    confirmed.

    `contact` is sealed: the address or URL, the code that confirms, and a webhook's secret. There is no digest of the
    code beside it: so few digits are guessed from a digest in seconds by whoever may read this stream.
    `categories` () means all.
    """

    area: Code
    channel: Channel
    contact: Sealed
    categories: tuple[Code, ...] = ()
    language: Language = "id"


class ConfirmationRefused(Event, frozen=True):
    """A wrong code was shown. A fact, so that the count of guesses is as safe as everything else in the log."""


class SubscriptionConfirmed(Event, frozen=True):
    """The contact's owner showed the code."""


class SubscriptionStopped(Event, frozen=True):
    """No more is sent: its owner asked, the webhook said that it is gone for good, or nobody confirmed it in time. With
    it the contact is erased. Before version 2 none expired."""

    schema_version: ClassVar[int] = 2

    reason: StoppedBecause = "asked"


class Bilingual(msgspec.Struct, frozen=True, omit_defaults=True):
    """The same said in Indonesian and in English; "" where there is no English."""

    id: Public
    en: Public = ""

    def in_language(self, language: Language) -> str:
        return self.en if language == "en" and self.en else self.id


class AlertRaised(Event, frozen=True):
    """Something that people of an area are to know, from an officer or from an event of another service (`source_id`
    and `source_type` name it). Severity, urgency and certainty as in CAP 1.2. `recipients` are the subscriptions it
    goes to, each by one delivery; what one event cannot hold follows in `RecipientsAdded`. One that `corrects` another
    alert, which is withdrawn, is sent to whom that was sent, and to nobody else."""

    area: Code
    headline: Bilingual
    text: Bilingual
    recipients: tuple[UUID, ...]
    severity: Severity = "minor"
    urgency: Urgency = "expected"
    certainty: Certainty = "likely"
    category: Code = ""
    about: UUID | None = None
    source_id: UUID | None = None
    source_type: Code = ""
    corrects: UUID | None = None


class RecipientsAdded(Event, frozen=True):
    """More recipients of the same alert, recorded together with it."""

    recipients: tuple[UUID, ...]


class AlertWithdrawn(Event, frozen=True):
    """What it says is not so any more, and is not sent any more: the problem was rejected, which another alert tells to
    whom it was sent, or what was done since has superseded it."""

    reason: WithdrawalReason


class DeliverySent(Event, frozen=True):
    """The channel took it, at the n-th attempt. What was sent is an alert or, without one, the code that confirms."""

    area: Code
    subscription_id: UUID
    attempt: int
    alert_id: UUID | None = None


class DeliveryFailed(Event, frozen=True):
    """The n-th attempt failed; it is tried again later. `reason` never tells the contact."""

    area: Code
    subscription_id: UUID
    attempt: int
    reason: Public
    alert_id: UUID | None = None


class DeliveryGivenUp(Event, frozen=True):
    """Tried often enough, or refused for good: parked for the operator, never dropped. `attempt` counts them. Before
    DeliveryCalledOff came to be, also what was not to be sent any more."""

    area: Code
    subscription_id: UUID
    attempt: int
    reason: Public
    alert_id: UUID | None = None


class DeliveryCalledOff(Event, frozen=True):
    """Not sent, for it is not to be any more: its subscription is stopped or waits for no code, its alert is withdrawn,
    or it corrects what this recipient was never sent. `attempt` counts the attempts made."""

    area: Code
    subscription_id: UUID
    attempt: int
    reason: CallOffReason
    alert_id: UUID | None = None


class DeliveryRequeued(Event, frozen=True):
    """What was given up is tried again because an operator asked, or the code is sent again because its subscriber
    did. Attempts go on being counted."""

    area: Code
    subscription_id: UUID
    by: RequeuedBy
    alert_id: UUID | None = None


SubscriptionEvent = (
    SubscriptionRequested | ConfirmationRefused | SubscriptionConfirmed | SubscriptionStopped | PersonErased
)
AlertEvent = AlertRaised | RecipientsAdded | AlertWithdrawn
DeliveryEvent = DeliverySent | DeliveryFailed | DeliveryGivenUp | DeliveryCalledOff | DeliveryRequeued

CODEC = Codec(
    (*SubscriptionEvent.__args__, *AlertEvent.__args__, *DeliveryEvent.__args__, *PrivacyEvent.__args__),
    {("SubscriptionStopped", 1): dict, ("PersonErased", 1): dict},
)
