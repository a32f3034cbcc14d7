"""What did not get through, whether it is still wanted, and what an operator has tried again of it: one, or all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from uuid import UUID

import asyncpg
from rembuk.contracts.notifications import CODEC
from rembuk.events.decider import Refused
from rembuk.events.event import Metadata
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle
from rembuk.operations.errand_log import errand_log, started
from rembuk.operations.steps import ListedDelivery, SentAgain
from rembuk.postgres.database import AWAY, connect
from rembuk.settings import CannotRun, Settings
from uuid_utils import uuid7

from notifications.commands import Parcel, SendAgain
from notifications.domain import DELIVERY

BATCH = 100
"""Deliveries asked for at once."""

_WANTED = """subscription.status = case when alert_id is null then 'requested' else 'confirmed' end
               and withdrawn_at is null"""
_JOINED = "delivery join subscription on subscription.id = subscription_id left join alert on alert.id = alert_id"
_GIVEN_UP = f"""
    select delivery.id, alert_id, subscription_id, state, reason, coalesce(alert.area, subscription.area) as area,
           {_WANTED} as wanted
    from {_JOINED}"""  # noqa: S608 - our own words, as below
_ONE = f"{_GIVEN_UP} where delivery.id = $1"
_ALL = f"""select * from ({_GIVEN_UP} where state = 'given_up' and starts_with(delivery.reason, $1)) as given_up
           where wanted order by id"""  # noqa: S608
_LISTED = f"""
    select delivery.id, state, split_part(lane, ' ', 1) as channel, attempts, reason, queued_at, delivery.changed_at,
           case when state in ('queued', 'failed') then due_at end as due_at, alert_id,
           coalesce(headline->>'id', 'confirmation code') as headline,
           state in ('queued', 'failed', 'given_up') and {_WANTED} as wanted, count(*) over () as in_all
    from {_JOINED}
    where state = any($1) and starts_with(delivery.reason, $2)
    order by delivery.changed_at desc, delivery.id limit $3"""  # noqa: S608


async def listed(settings: Settings, states: Sequence[str], reason: str, limit: int) -> AsyncIterator[ListedDelivery]:
    """The deliveries in these states whose last attempt failed for a reason that begins so, the last changed first;
    each says how many there are in all, and never to whom it goes. Raises CannotRun."""
    try:
        connection = await connect(settings.database_url, f"{settings.name} errand")
        try:
            for row in await connection.fetch(_LISTED, states, reason, limit):
                yield ListedDelivery(**row)
        finally:
            connection.terminate()
    except AWAY as error:
        raise CannotRun(str(error) or repr(error)) from error


async def requeue(settings: Settings, delivery_id: UUID | None, reason: str = "") -> AsyncIterator[SentAgain]:
    """Have one delivery tried again, or without one all that were given up for reasons that begin so; each, as it is
    recorded, or by which rule it was refused. Raises CannotRun."""
    async with started(errand_log(settings, CODEC)) as log:
        try:
            for batch in await _batches(settings, delivery_id, reason):
                for answer in await asyncio.gather(*map(partial(_send_again, log), batch)):
                    yield answer
        except AWAY as error:
            why = f"{str(error) or repr(error)}; run this again: what is asked for already stays so"
            raise CannotRun(why) from error


async def _batches(settings: Settings, delivery_id: UUID | None, reason: str) -> list[Sequence[asyncpg.Record]]:
    connection = await connect(settings.database_url, f"{settings.name} errand")
    try:
        rows = await (connection.fetch(_ONE, delivery_id) if delivery_id else connection.fetch(_ALL, reason))
    finally:
        connection.terminate()
    if delivery_id:
        _require_given_up(delivery_id, rows)
    return [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]


def _require_given_up(delivery_id: UUID, rows: Sequence[asyncpg.Record]) -> None:
    """Raises CannotRun where there is no such delivery, or it is not to be sent again."""
    if not rows:
        raise CannotRun(f"there is no delivery {delivery_id}")
    [row] = rows
    if row["state"] != "given_up":
        raise CannotRun(
            f"delivery {delivery_id} is {row['state'].replace('_', ' ')}, and only what is given up is retried"
        )
    if not row["wanted"]:
        raise CannotRun(
            f"delivery {delivery_id} is not wanted any more: its subscription is stopped or its alert withdrawn"
        )


async def _send_again(log: EventLog, row: asyncpg.Record) -> SentAgain:
    command = SendAgain(Parcel(row["area"], row["subscription_id"], row["alert_id"]), "operator")
    key = str(uuid7())
    metadata = Metadata(
        correlation_id=key, causation_id=str(row["alert_id"] or row["subscription_id"]), actor="operator"
    )
    try:
        outcome = await handle(log, DELIVERY, row["id"], command, key, metadata)
    except Refused as refusal:
        return SentAgain(row["id"], refused=refusal.rule)
    return SentAgain(row["id"], outcome.position)
