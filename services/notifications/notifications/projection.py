"""Facts become rows: one fact, its named statements and their parameters; the projector runs them in bulk.

A row of the ledger is spoken of by two aggregates, the alert that queues it and the delivery itself, whose events
may come to the rows in either order within a batch. So both statements make the row where it is missing, and
neither takes back what the other said: a delivery that was settled stays so until it is asked for again. It is due
at once by the database's clock: a log goes on at the time at which a clock that ran ahead was set back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never
from uuid import UUID

import msgspec
from rembuk.contracts.notifications import (
    AlertEvent,
    AlertRaised,
    AlertWithdrawn,
    ConfirmationRefused,
    DeliveryCalledOff,
    DeliveryEvent,
    DeliveryFailed,
    DeliveryGivenUp,
    DeliveryRequeued,
    DeliverySent,
    RecipientsAdded,
    SubscriptionConfirmed,
    SubscriptionEvent,
    SubscriptionRequested,
    SubscriptionStopped,
)
from rembuk.contracts.privacy import PersonErased, PrivacyEvent, SealedDataOpened
from rembuk.events.event import RecordedEvent
from rembuk.operations.side_model import KEPT
from rembuk.postgres.bulk import Change, Statement, change, insert_into, update
from rembuk.sealing.persons import project_privacy

from notifications.domain import RECIPIENTS, delivery_id
from notifications.tables import alert, subscription

NAME = "projection"
Ours = SubscriptionEvent | AlertEvent | DeliveryEvent | PrivacyEvent
Settling = DeliverySent | DeliveryFailed | DeliveryGivenUp | DeliveryCalledOff

ADD_SUBSCRIPTION = insert_into(subscription, *(column.name for column in subscription.columns if column.info != KEPT))
REFUSED = update(subscription, "version", "changed_at")
CONFIRMED = update(subscription, "version", "status", "confirmed_at", "changed_at")
STOPPED = update(subscription, "version", "status", "contact", "changed_at")
ADD_ALERT = insert_into(alert, *alert.columns.keys())
RECIPIENTS_ADDED = update(alert, "version", "recipients")
WITHDRAWN = update(alert, "version", "withdrawn_at")
_LANE = "coalesce(channel, '') || case when new.alert_id is null then ' code' else ' alert' end"
QUEUE = Statement(
    "queue_deliveries",
    f"""insert into delivery
           (id, alert_id, subscription_id, lane, rank, number, state, attempts, reason, queued_at, changed_at, due_at)
       select (one->>0)::uuid, new.alert_id, (one->>1)::uuid, {_LANE},
              coalesce(array_position(array['minor', 'moderate', 'severe', 'extreme'], severity) - 1, 0),
              new.above + n, 'queued', 0, '', at, at, least(at, now())
       from unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::json[]) as new (alert_id, above, at, deliveries)
            cross join json_array_elements(new.deliveries) with ordinality as each (one, n)
            left join alert on alert.id = new.alert_id left join subscription on subscription.id = (one->>1)::uuid
       on conflict (id) do update set number = excluded.number, queued_at = excluded.queued_at,
                                      lane = excluded.lane, rank = excluded.rank""",  # noqa: S608 - our own words
    ("alert_id", "above", "queued_at", "deliveries"),
)
"""`deliveries` is a JSON list of [delivery id, subscription id]: thousands of rows by one change. Its alert and its
subscription are there: they are written by the first change of theirs, and this is never a first one."""
SETTLE = Statement(
    "settle_deliveries",
    f"""insert into delivery
           (id, alert_id, subscription_id, lane, number, state, attempts, reason, queued_at, changed_at, due_at)
       select new.id, alert_id, subscription_id, {_LANE}, 0, state, attempts, reason, at, at, least(at, now())
       from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::timestamptz[])
            as new (id, alert_id, subscription_id, state, attempts, reason, at)
            left join subscription on subscription.id = subscription_id
       on conflict (id) do update
       set state = excluded.state, attempts = excluded.attempts, reason = excluded.reason,
           changed_at = excluded.changed_at
       where delivery.state in ('queued', 'failed')""",  # noqa: S608 - our own words
    ("id", "alert_id", "subscription_id", "state", "attempts", "reason", "at"),
)
REQUEUED = Statement(
    "requeue_deliveries",
    """update delivery set state = 'queued', changed_at = at, due_at = least(at, now())
       from unnest($1::uuid[], $2::timestamptz[]) as new (id, at) where delivery.id = new.id""",
    ("id", "at"),
)


def project(fact: RecordedEvent[Ours]) -> Sequence[Change]:
    """What an event of ours changes in the rows."""
    row = {"id": fact.stream_id, "version": fact.version, "changed_at": fact.recorded_at}
    match fact.event:
        case SubscriptionRequested() as event:
            return (
                change(
                    ADD_SUBSCRIPTION,
                    **row,
                    area=event.area,
                    channel=event.channel,
                    categories=_json(event.categories),
                    language=event.language,
                    status="requested",
                    requested_at=fact.recorded_at,
                    confirmed_at=None,
                ),
                _queued(None, 0, fact, (fact.stream_id,)),
            )
        case ConfirmationRefused():
            return (change(REFUSED, **row),)
        case SubscriptionConfirmed():
            return (change(CONFIRMED, **row, status="confirmed", confirmed_at=fact.recorded_at),)
        case SubscriptionStopped():
            return (change(STOPPED, **row, status="stopped", contact=b""),)
        case AlertRaised() as event:
            return (
                change(
                    ADD_ALERT,
                    id=fact.stream_id,
                    version=fact.version,
                    position=fact.position,
                    area=event.area,
                    category=event.category,
                    headline=_json(event.headline),
                    text=_json(event.text),
                    severity=event.severity,
                    urgency=event.urgency,
                    certainty=event.certainty,
                    about=event.about,
                    source_id=event.source_id,
                    source_type=event.source_type,
                    recipients=len(event.recipients),
                    raised_at=fact.recorded_at,
                    corrects=event.corrects,
                    withdrawn_at=None,
                ),
                _queued(fact.stream_id, 0, fact, event.recipients),
            )
        case RecipientsAdded() as event:
            above = RECIPIENTS * (fact.version - 1)
            return (
                change(
                    RECIPIENTS_ADDED,
                    id=fact.stream_id,
                    version=fact.version,
                    recipients=above + len(event.recipients),
                ),
                _queued(fact.stream_id, above, fact, event.recipients),
            )
        case AlertWithdrawn():
            return (change(WITHDRAWN, id=fact.stream_id, version=fact.version, withdrawn_at=fact.recorded_at),)
        case DeliverySent() as event:
            return (_settled(fact, event, "sent", ""),)
        case DeliveryFailed() as event:
            return (_settled(fact, event, "failed", event.reason),)
        case DeliveryGivenUp() as event:
            return (_settled(fact, event, "given_up", event.reason),)
        case DeliveryCalledOff() as event:
            return (_settled(fact, event, "called_off", event.reason),)
        case DeliveryRequeued():
            return (change(REQUEUED, id=fact.stream_id, at=fact.recorded_at),)
        case PersonErased() | SealedDataOpened():
            return project_privacy(fact)
        case event:
            assert_never(event)


def _queued(alert_id: UUID | None, above: int, fact: RecordedEvent[Ours], recipients: Iterable[UUID]) -> Change:
    pairs = [(delivery_id(alert_id, recipient), recipient) for recipient in recipients]
    return change(QUEUE, alert_id=alert_id, above=above, queued_at=fact.recorded_at, deliveries=_json(pairs))


def _settled(fact: RecordedEvent[Ours], event: Settling, state: str, reason: str) -> Change:
    return change(
        SETTLE,
        id=fact.stream_id,
        alert_id=event.alert_id,
        subscription_id=event.subscription_id,
        state=state,
        attempts=event.attempt,
        reason=reason,
        at=fact.recorded_at,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
