"""What a subscriber reads, and what his programs do: the message of one delivery."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from rembuk.contracts.notifications import Bilingual, DeliveryRequeued, SubscriptionRequested
from rembuk.events.event import RecordedEvent
from rembuk.events.ids import derive_id
from rembuk.settings import PUBLIC_URL, BadSetting, Settings

from notifications import phrases
from notifications.channels import Message
from notifications.commands import Contact
from notifications.domain.delivery import Past

_BEGINS_A_LINK = re.compile(r"[!-~]+")
_ENDS_IT = frozenset('<>"{}?#')
_bilingual = msgspec.json.Decoder(Bilingual).decode


def stop_link(settings: Settings) -> str:
    """The URL that ends a subscription, with a `{id}`. Raises BadSetting where a mail could not name it."""
    here = settings.mail.public_url.rstrip("/") or f"http://{settings.host}:{settings.port}"
    if not _BEGINS_A_LINK.fullmatch(here) or not _ENDS_IT.isdisjoint(here):
        rule = 'printable ASCII (a domain of other letters as xn--...) and none of < > " { } ? #'
        raise BadSetting(f"{PUBLIC_URL} is to be {rule}: {here}")
    return f"{here}/v1/subscriptions/{{id}}/stop"


def message_id(delivery_id: UUID, past: Past) -> UUID:
    """By which a receiver knows a repetition: what was sent, and is asked for again, is another message."""
    return derive_id("delivery", delivery_id, str(past.sendings)) if past.sendings else delivery_id


def requeued_at(history: Sequence[RecordedEvent[Any]]) -> datetime | None:
    """When a delivery was last asked for again; None for never."""
    return next((one.recorded_at for one in reversed(history) if isinstance(one.event, DeliveryRequeued)), None)


def compose(
    row: asyncpg.Record,
    id: UUID,
    at: datetime,
    requested: RecordedEvent[SubscriptionRequested],
    contact: Contact,
    stop: str,
) -> Message:
    """The message of a row that the ledger gave; `stop` is the URL that ends the subscription, with a `{id}`."""
    event, subscription_id = requested.event, requested.stream_id
    stop_url = stop.format(id=subscription_id)
    if row["alert_id"] is None:
        headline, text = phrases.confirmation(event.language, event.area, contact.code)
        confirm = {"subscription_id": subscription_id, "area": event.area, "code": contact.code}
        return Message(id, "subscription.confirm", at, headline, text, stop_url, confirm)
    headline, text = (_bilingual(row[name]).in_language(event.language) for name in ("headline", "text"))
    data = {
        "alert_id": row["alert_id"],
        "subscription_id": subscription_id,
        "area": row["area"],
        "place": phrases.place(row["area"]),
        "headline": headline,
        "text": text,
        **{
            name: row[name]
            for name in ("category", "severity", "urgency", "certainty", "about", "source_type", "corrects")
        },
        "stop_url": stop_url,
    }
    text = f"{text}\n\n{phrases.stop_hint(event.language, stop_url)}"
    return Message(id, "alert.raised", at, headline, text, stop_url, data)
