"""What can be asked about subscriptions, alerts and deliveries: answered from the read model alone."""

from __future__ import annotations

from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
from rembuk.area_keys import lies_in
from rembuk.contracts.notifications import (
    Bilingual,
    Certainty,
    Channel,
    Language,
    Severity,
    Urgency,
)
from rembuk.web.metrics import Gauge, Outcomes
from rembuk.web.reading import ReadModel, Timestamp
from sqlalchemy import Row, func, or_, select

from notifications.domain import area_and_above, delivery_id, one_of_each_contact
from notifications.tables import alert, delivery, subscription

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


class NotificationQueries:
    """Reads of the tables `subscription`, `alert` and `delivery`."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model

    async def subscription(self, subscription_id: UUID, at_least: int | None = None) -> Subscription | None:
        """The subscription, None for an unknown one; raises Behind."""
        code = delivery_id(None, subscription_id)
        shown = [column for column in subscription.columns if column.name != "contact"]
        query = (
            select(*shown, delivery.c.state.label("code_delivery"), delivery.c.reason.label("code_failure"))
            .join(delivery, delivery.c.id == code)
            .where(subscription.c.id == subscription_id)
        )
        row = await self._read_model.one(query, at_least)
        return None if row is None else Subscription(**row._mapping)

    async def recipients(self, area: str, category: str) -> tuple[UUID, ...]:
        """The confirmed subscriptions that an alert of now goes to: one of each contact, that of the smallest area."""
        query = select(subscription.c.id, subscription.c.contact).where(
            subscription.c.status == "confirmed", subscription.c.area.in_(area_and_above(area))
        )
        if category:
            categories = subscription.c.categories
            query = query.where(or_(func.jsonb_array_length(categories) == 0, categories.has_key(category)))
        by_size = func.length(subscription.c.area).desc()
        rows = await self._read_model.all(query.order_by(by_size, subscription.c.id))
        return one_of_each_contact((row.id, row.contact) for row in rows)

    async def telling_the_same(self, subscription_id: UUID) -> tuple[UUID, ...]:
        """The subscriptions of the same contact for the same area and those above it, which tell whatever it tells."""
        this = subscription.alias("this")
        above = subscription.c.area == func.left(this.c.area, func.length(subscription.c.area))
        query = select(subscription.c.id).where(
            this.c.id == subscription_id, this.c.contact != b"", subscription.c.contact == this.c.contact, above
        )
        return tuple(row.id for row in await self._read_model.all(query))

    async def alert(self, alert_id: UUID, at_least: int | None = None) -> Alert | None:
        """The alert, None for an unknown one; raises Behind."""
        row = await self._read_model.one(select(alert).where(alert.c.id == alert_id), at_least)
        return None if row is None else _alert(row)

    async def alerts(
        self, *, area: str | None, category: str | None, cursor: str | None, limit: int, at_least: int | None
    ) -> AlertPage:
        """Alerts of an area and everything below it, newest first."""
        query = select(alert)
        if area is not None:
            query = query.where(lies_in(alert.c.area, area))
        if category is not None:
            query = query.where(alert.c.category == category)
        rows, more = await self._read_model.page(query, alert.c.position, cursor, limit, at_least)
        return AlertPage([_alert(row) for row in rows], more)

    async def deliveries(
        self, alert_id: UUID, *, state: str | None, cursor: str | None, limit: int, at_least: int | None
    ) -> DeliveryPage | None:
        """What became of an alert for each recipient; None for an unknown alert."""
        if await self.alert(alert_id, at_least) is None:
            return None
        of_alert = delivery.c.alert_id == alert_id
        counts = select(delivery.c.state, func.count().label("many")).where(of_alert).group_by(delivery.c.state)
        query = (
            select(delivery, subscription.c.channel)
            .join(subscription, subscription.c.id == delivery.c.subscription_id)
            .where(of_alert)
        )
        walks = [delivery.c.state == one for one in (get_args(DeliveryState) if state is None else [state])]
        rows, more = await self._read_model.page(query, delivery.c.number, cursor, limit, walks=walks)
        states: dict[DeliveryState, int] = {row.state: row.many for row in await self._read_model.all(counts)}
        return DeliveryPage(states, [_delivery(row) for row in rows], more)


def _alert(row: Row[Any]) -> Alert:
    fields = dict(row._mapping)
    del fields["position"]
    for name in ("headline", "text"):
        fields[name] = msgspec.convert(fields[name], Bilingual)
    return Alert(**fields)


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(**{name: row._mapping[name] for name in Delivery.__struct_fields__})
