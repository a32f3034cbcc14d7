"""What can be asked about subscriptions, alerts and deliveries: answered from the read model alone."""

from __future__ import annotations

from typing import Literal, get_args
from uuid import UUID

import msgspec
from asyncpg import Record
from rembuk.contracts.notifications import (
    Bilingual,
    Certainty,
    Channel,
    Language,
    Severity,
    Urgency,
)
from rembuk.postgres.area_keys import lies_in
from rembuk.web.lists import ALL, ListedRows, each_of
from rembuk.web.metrics import Gauge, Outcomes
from rembuk.web.reading import ReadModel, Timestamp

from notifications.domain import area_and_above, delivery_id, one_of_each_contact

DeliveryState = Literal["queued", "failed", "sent", "given_up", "called_off"]

GAUGES = (
    Gauge(
        "rembuk_deliveries_waiting",
        "Deliveries that are still to be sent",
        "select count(*) from delivery where state in ('queued', 'failed')",
    ),
    Gauge(
        "rembuk_delivery_lag_seconds",
        "For how long the first delivery has been due; 0 without one",
        """select coalesce(extract(epoch from max(now() - due_at)), 0) from delivery
           where state in ('queued', 'failed') and due_at <= now()""",
    ),
)
OUTCOMES = (
    Outcomes(
        "rembuk_deliveries",
        "Attempts to deliver, by what came of them; what failed is tried again, what is given up when it is asked for",
        "outcome",
        {"DeliverySent": "sent", "DeliveryFailed": "failed", "DeliveryGivenUp": "given_up"},
    ),
)


class Subscription(msgspec.Struct, frozen=True):
    """A subscription as it stands, without its contact; `code_delivery` tells whether its code could be sent."""

    id: UUID
    version: int
    area: str
    channel: Channel
    categories: list[str]
    language: Language
    status: Literal["requested", "confirmed", "stopped"]
    code_delivery: DeliveryState
    code_failure: str
    requested_at: Timestamp
    confirmed_at: Timestamp | None
    changed_at: Timestamp


class Alert(msgspec.Struct, frozen=True):
    """An alert as it was raised; `recipients` counts the subscriptions it goes to. Once it is withdrawn it is sent to
    nobody any more; one that `corrects` it is sent to whom it was sent."""

    id: UUID
    version: int
    area: str
    category: str
    headline: Bilingual
    text: Bilingual
    severity: Severity
    urgency: Urgency
    certainty: Certainty
    about: UUID | None
    source_id: UUID | None
    source_type: str
    recipients: int
    raised_at: Timestamp
    corrects: UUID | None
    withdrawn_at: Timestamp | None


class AlertPage(msgspec.Struct, frozen=True):
    """Alerts, newest first; `next_cursor` is null on the last page."""

    items: list[Alert]
    next_cursor: str | None = None


class Delivery(msgspec.Struct, frozen=True):
    """One recipient's delivery: by which channel, how often it was tried, why it failed last. Whose it is stays
    untold: a subscription's id is what stops it."""

    id: UUID
    channel: Channel
    state: DeliveryState
    attempts: int
    reason: str
    queued_at: Timestamp
    changed_at: Timestamp


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries of one alert, and how many are in which state; `next_cursor` is null on the last page."""

    states: dict[DeliveryState, int]
    items: list[Delivery]
    next_cursor: str | None = None


ALERTS = ListedRows(
    "alert",
    """id, version, area, category, headline, text, severity, urgency, certainty, about, source_id, source_type,
       recipients, raised_at, corrects, withdrawn_at, position""",
)
DELIVERIES = ListedRows(
    "delivery",
    "delivery.id, channel, state, attempts, reason, queued_at, delivery.changed_at, number",
    "number",
    "join {0}subscription on subscription.id = subscription_id",
)
_bilingual = msgspec.json.Decoder(Bilingual).decode
_codes = msgspec.json.Decoder(list[str]).decode


def _subscription(schema: str) -> str:
    return f"""
        select subscription.id, version, area, channel, categories, language, status, code.state, code.reason,
               requested_at, confirmed_at, subscription.changed_at
        from {schema}subscription join {schema}delivery as code on code.id = $2 where subscription.id = $1"""


def _recipients(schema: str) -> str:
    return f"""
        select id, contact from {schema}subscription where status = 'confirmed' and area = any($1)
        and ($2 = '' or jsonb_array_length(categories) = 0 or categories ? $2) order by length(area) desc, id"""


def _telling_the_same(schema: str) -> str:
    return f"""
        select above.id from {schema}subscription as this join {schema}subscription as above
            on above.contact = this.contact and above.area = left(this.area, length(above.area))
        where this.id = $1 and this.contact <> ''"""


def _states(schema: str) -> str:
    return f"select state, count(*) from {schema}delivery where alert_id = $1 group by state"


class NotificationQueries:
    """Reads of the tables `subscription`, `alert` and `delivery`."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model

    async def subscription(self, subscription_id: UUID, at_least: int | None = None) -> Subscription | None:
        """The subscription, None for an unknown one; raises Behind."""
        await self._read_model.reached(at_least)
        code = delivery_id(None, subscription_id)
        for row in await self._read_model.rows(_subscription, subscription_id, code):
            told = [*row[:4], _codes(row["categories"]), *row[5:]]
            return Subscription(*told)
        return None

    async def recipients(self, area: str, category: str) -> tuple[UUID, ...]:
        """The confirmed subscriptions that an alert of now goes to: one of each contact, that of the smallest area."""
        rows = await self._read_model.rows(_recipients, area_and_above(area), category)
        return one_of_each_contact((row["id"], row["contact"]) for row in rows)

    async def telling_the_same(self, subscription_id: UUID) -> tuple[UUID, ...]:
        """The subscriptions of the same contact for the same area and those above it, which tell whatever it tells."""
        return tuple(row["id"] for row in await self._read_model.rows(_telling_the_same, subscription_id))

    async def alert(self, alert_id: UUID, at_least: int | None = None) -> Alert | None:
        """The alert, None for an unknown one; raises Behind."""
        row = await self._read_model.one(ALERTS, alert_id, at_least)
        return None if row is None else _alert(row)

    async def alerts(
        self, *, area: str | None, category: str | None, cursor: str | None, limit: int, at_least: int | None
    ) -> AlertPage:
        """Alerts of an area and everything below it, newest first."""
        equal = lies_in(area) | {"category": category}
        rows, more = await self._read_model.page(ALERTS, equal, cursor, limit, at_least)
        return AlertPage([_alert(row) for row in rows], more)

    async def deliveries(
        self, alert_id: UUID, *, state: DeliveryState | None, cursor: str | None, limit: int, at_least: int | None
    ) -> DeliveryPage | None:
        """What became of an alert for each recipient; None for an unknown alert."""
        equal = {"alert_id": alert_id, "state": state}
        walks = ALL if state else each_of("state", get_args(DeliveryState))
        rows, more = await self._read_model.page(DELIVERIES, equal, cursor, limit, at_least, walks)
        states: dict[DeliveryState, int] = {row[0]: row[1] for row in await self._read_model.rows(_states, alert_id)}
        if not states and await self.alert(alert_id) is None:
            return None
        return DeliveryPage(states, [Delivery(*row[:-1]) for row in rows], more)


def _alert(row: Record) -> Alert:
    """By place."""
    told = [*row[:4], _bilingual(row["headline"]), _bilingual(row["text"]), *row[6:-1]]
    return Alert(*told)
