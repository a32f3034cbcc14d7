"""What can be asked of subscriptions, alerts and deliveries: one struct a wish, validated as it is decoded."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from rembuk.contracts.notifications import (
    Bilingual,
    CallOffReason,
    Certainty,
    Channel,
    Language,
    RequeuedBy,
    Severity,
    StoppedBecause,
    Urgency,
    WithdrawalReason,
)
from rembuk.events.wording import NO_NUL, ONE_LINE_OR_NOTHING, AreaCode, CategoryCode, Text, Title, pattern

CODE = pattern(r"^[0-9]{8}(?!\n)$", "not a code of 8 digits")


class SubscriptionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subscription as it is asked for, its contact in clear: an e-mail address, or the http(s) URL of a webhook.
    Without categories it is for all of them."""

    area: AreaCode
    channel: Channel
    contact: Annotated[str, Meta(min_length=3, max_length=500, examples=["warga@example.org"])]
    categories: Annotated[tuple[CategoryCode, ...], Meta(max_length=50)] = ()
    language: Language = "id"


class Contact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sealed of a subscription: where it goes, the code that confirms it, a webhook's signing secret."""

    to: str
    code: str
    secret: str = ""


class RequestSubscription(msgspec.Struct, frozen=True):
    """A subscription to be recorded, its `Contact` sealed."""

    area: str
    channel: Channel
    contact: str
    categories: tuple[str, ...]
    language: Language


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code, as its receiver shows it."""

    code: Annotated[str, Meta(pattern=CODE, examples=["04711815"])]


class ConfirmSubscription(msgspec.Struct, frozen=True):
    """A code was shown, and it is the one that was sent, or not."""

    right: bool


class StopSubscription(msgspec.Struct, frozen=True):
    """Send nothing more, and forget where it went: who subscribed is known, as an opaque person, by the id."""

    subscription_id: UUID
    reason: StoppedBecause = "asked"


class Headline(Bilingual, frozen=True, forbid_unknown_fields=True):
    id: Title
    en: Annotated[str, Meta(max_length=200, pattern=ONE_LINE_OR_NOTHING)] = ""


class Body(Bilingual, frozen=True, forbid_unknown_fields=True):
    id: Text
    en: Annotated[str, Meta(max_length=4000, pattern=NO_NUL)] = ""


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert as an officer words it, for everybody: it is to name nobody. Without a category it reaches every
    subscriber of the area."""

    area: AreaCode
    headline: Headline
    text: Body
    severity: Severity = "minor"
    urgency: Urgency = "expected"
    certainty: Certainty = "likely"
    category: CategoryCode | None = None
    about: UUID | None = None


class RaiseAlert(msgspec.Struct, frozen=True):
    """An alert to be recorded, for these subscriptions."""

    area: str
    headline: Bilingual
    text: Bilingual
    recipients: tuple[UUID, ...]
    severity: Severity = "minor"
    urgency: Urgency = "expected"
    certainty: Certainty = "likely"
    category: str = ""
    about: UUID | None = None
    source_id: UUID | None = None
    source_type: str = ""
    corrects: UUID | None = None


class WithdrawAlert(msgspec.Struct, frozen=True):
    """What it says is not so any more."""

    reason: WithdrawalReason


class Parcel(msgspec.Struct, frozen=True):
    """What a delivery delivers to whom: an alert or, without one, the code that confirms the subscription."""

    area: str
    subscription_id: UUID
    alert_id: UUID | None = None


class MarkSent(msgspec.Struct, frozen=True):
    parcel: Parcel
    attempt: int


class MarkFailed(msgspec.Struct, frozen=True):
    parcel: Parcel
    attempt: int
    reason: str


class GiveUp(msgspec.Struct, frozen=True):
    parcel: Parcel
    attempt: int
    reason: str


class CallOff(msgspec.Struct, frozen=True):
    """It is not to be sent any more, and why."""

    parcel: Parcel
    reason: CallOffReason


class SendAgain(msgspec.Struct, frozen=True):
    """An operator wants it tried again, or a subscriber his code."""

    parcel: Parcel
    by: RequeuedBy


class AskForCode(msgspec.Struct, frozen=True):
    """Whoever waits for a code did not get it."""

    subscription_id: UUID


AlertCommand = RaiseAlert | WithdrawAlert
SubscriptionCommand = RequestSubscription | ConfirmSubscription | StopSubscription
DeliveryCommand = MarkSent | MarkFailed | GiveUp | CallOff | SendAgain
