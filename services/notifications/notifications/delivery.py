"""The sender: takes what is due from the ledger, sends it, and records what came of it.

The ledger tells what may be due; the log tells what is. Before a message leaves, the delivery's own events and those
of its subscription are read, so a ledger that was rebuilt, lost or lags behind never makes anything leave twice, and
a stop counts from the moment it is recorded. What is left is a crash between sending and recording: then the
message is sent once more under the same id, by which its receiver knows it.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog
from rembuk import logs, tracing
from rembuk.contracts.notifications import Bilingual, SubscriptionRequested
from rembuk.database import UNREACHABLE, KeptConnection, Unavailable, is_unreachable
from rembuk.decider import Refused
from rembuk.event import Metadata, Recorded
from rembuk.event_log import EventLog
from rembuk.handling import handle
from rembuk.region_key import Tampered, WrongRegionKey
from rembuk.settings import MissingSetting
from rembuk.vault import Erased, NotSealed, Vault

from notifications import phrases
from notifications.channels import Channel, Message, Undelivered
from notifications.commands import (
    Contact,
    DeliveryCommand,
    GiveUp,
    MarkFailed,
    MarkSent,
    Parcel,
    StopSubscription,
)
from notifications.domain import DELIVERY, SUBSCRIPTION, Confirmed, Requested, Settled

AT_ONCE = 20
"""Messages on their way at a time."""
SEND_S = 15.0
"""How long one attempt may take, all in all."""
FINISH_S = 8.0
"""How long a stopping sender lets messages on their way arrive: less than what `rembuk.cancelling` allows."""
LEASE = timedelta(seconds=60)
"""How long what one sender took is left to it by the others; it knows itself what it has not done with."""
POLL_S = 5.0
"""How often the ledger is looked at without a word from it: for what a crashed sender left behind."""
LONGEST_PAUSE_S = 3600.0

_TAKE = """
with due as materialized (
    select id from delivery where state in ('queued', 'failed') and due_at <= now() and id <> all($3)
    order by due_at limit $1 for update skip locked),
taken as (
    update delivery set due_at = now() + $2 from due where delivery.id = due.id
    returning delivery.id, alert_id, subscription_id, queued_at)
select taken.*, alert.area, category, headline, text, severity, urgency, certainty, about, source_type,
       coalesce(began.metadata->>'correlation_id', '') as correlation_id,
       coalesce(began.metadata->>'traceparent', '') as traceparent
from taken left join alert on alert.id = taken.alert_id
     left join log.event as began on began.stream_id = coalesce(alert_id, subscription_id) and began.version = 1"""
_POSTPONE = "update delivery set due_at = now() + $2 where id = $1"

_log = structlog.get_logger(__name__)
_contact = msgspec.json.Decoder(Contact).decode
_bilingual = msgspec.json.Decoder(Bilingual).decode


class Patience(msgspec.Struct, frozen=True):
    """How often a failing channel is tried, and how long the first pause is; each further one is four times that."""

    attempts: int
    backoff_s: float

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Patience:
        """Read REMBUK_DELIVERY_ATTEMPTS and REMBUK_DELIVERY_BACKOFF_S. Raises MissingSetting for what is no number."""
        try:
            return cls(
                int(environment.get("REMBUK_DELIVERY_ATTEMPTS", "8")),
                float(environment.get("REMBUK_DELIVERY_BACKOFF_S", "1")),
            )
        except ValueError as error:
            raise MissingSetting(f"REMBUK_DELIVERY_ATTEMPTS and REMBUK_DELIVERY_BACKOFF_S: {error}") from error

    def pause(self, attempt: int) -> float:
        """Seconds until the attempt after the n-th: 1, 4, 16 ... up to an hour, so that eight span one and a half."""
        return min(self.backoff_s * 4.0 ** min(attempt - 1, 20), LONGEST_PAUSE_S)


class Sender:
    """Sends what is due through `channels`, by name; `stop_url` has a `{id}` for the subscription's. `run` is a
    worker's task. Any number of senders may run: what one took the others leave to it."""

    def __init__(
        self,
        database_url: str,
        log: EventLog,
        vault: Vault,
        channels: Mapping[str, Channel],
        patience: Patience,
        stop_url: str,
    ) -> None:
        self._log, self._vault = log, vault
        self._channels, self._patience, self._stop_url = channels, patience, stop_url
        self._news = asyncio.Event()
        self._connection = KeptConnection(database_url, "notifications sender", self._listen)
        self._sending: dict[UUID, asyncio.Task[float | None]] = {}

    async def run(self) -> None:
        """Send until cancelled; what is on its way then is finished and recorded."""
        try:
            while True:
                try:
                    await self._round(await self._connection.get())
                except UNREACHABLE as error:
                    _log.warning("sender waits for its ledger", error=repr(error))
                    self._connection.drop()
                    await asyncio.sleep(0.5)
        finally:
            await self._finish()
            self._connection.drop()

    async def _finish(self) -> None:
        """Let what is on its way arrive and be recorded, however often we are cancelled meanwhile; then no longer."""
        deadline = time.monotonic() + FINISH_S
        while self._sending and (left := deadline - time.monotonic()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.wait(self._sending.values(), timeout=left)
                break
        for task in self._sending.values():
            task.cancel()

    async def _listen(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.add_listener("delivery_queued", lambda *_: self._news.set())

    async def _round(self, connection: asyncpg.Connection[Any]) -> None:
        """Take what there is room for, then wait until something ends or comes."""
        self._news.clear()
        if room := AT_ONCE - len(self._sending):
            for row in await connection.fetch(_TAKE, room, LEASE, list(self._sending)):
                self._sending[row["id"]] = asyncio.create_task(self._try(row), name=f"delivery {row['id']}")
        news = asyncio.create_task(self._news.wait())
        waiting: set[asyncio.Task[Any]] = {*self._sending.values(), news}
        if len(self._sending) == AT_ONCE:
            waiting.discard(news)
        await asyncio.wait(waiting, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        for delivery_id in [delivery_id for delivery_id, task in self._sending.items() if task.done()]:
            if (pause := self._sending.pop(delivery_id).result()) is not None:
                await connection.execute(_POSTPONE, delivery_id, timedelta(seconds=pause))
                asyncio.get_running_loop().call_later(pause + 0.01, self._news.set)

    async def _try(self, row: asyncpg.Record) -> float | None:
        """`_deliver`; where it fails its lease runs out, then it is tried again."""
        logs.begin_journey(row["correlation_id"])
        try:
            with tracing.under(row["traceparent"], "deliver", "CONSUMER") as span:
                return await self._deliver(row, span)
        except Exception as error:
            say = _log.warning if is_unreachable(error) else _log.critical
            say("delivery fails", delivery=str(row["id"]), exc_info=error)
            return None

    async def _deliver(self, row: asyncpg.Record, span: tracing.Span) -> float | None:
        """One attempt, if the log still wants it; the pause in seconds when it is to be tried again."""
        history = await self._log.read_stream(row["id"])
        state = DELIVERY.fold(one.event for one in history)
        if isinstance(state, Settled):
            return None  # the ledger is about to hear of it
        subscription = await self._log.read_stream(row["subscription_id"])
        requested: Recorded[SubscriptionRequested] = subscription[0]
        area = row["area"] if row["alert_id"] else requested.event.area
        parcel = Parcel(area, row["subscription_id"], row["alert_id"])
        wanted = Confirmed if row["alert_id"] else Requested
        command: DeliveryCommand
        subscribed = SUBSCRIPTION.fold(one.event for one in subscription)
        if not isinstance(subscribed, wanted):
            command = GiveUp(parcel, state.attempts, "no longer wanted")
        else:
            command = await self._attempt(row, requested, parcel, state.attempts + 1)
        span.tell(area=area, channel=requested.event.channel, outcome=type(command).__name__)
        await self._record(row, command, state.attempts + 1, span.traceparent, new=not history)
        if isinstance(command, MarkFailed):
            span.fail("Undelivered")
            return self._patience.pause(command.attempt)
        return None

    async def _attempt(
        self, row: asyncpg.Record, requested: Recorded[SubscriptionRequested], parcel: Parcel, attempt: int
    ) -> DeliveryCommand:
        """Open the contact and send; what came of it."""
        try:
            contact = _contact(await self._vault.open(requested.event.contact, requested.id))
            message = self._message(row, requested, contact)
            async with asyncio.timeout(SEND_S):
                await _send(self._channels[requested.event.channel], contact, message)
        except Erased:
            await self._stop(parcel.subscription_id, row["id"])
            return GiveUp(parcel, attempt, "the contact was erased")
        except (Tampered, NotSealed, WrongRegionKey) as error:
            failure = Undelivered(f"the contact cannot be opened: {type(error).__name__}")
        except TimeoutError:
            failure = Undelivered("timeout")
        except Undelivered as undelivered:
            failure = undelivered
        else:
            return MarkSent(parcel, attempt)
        if failure.gone:
            await self._stop(parcel.subscription_id, row["id"])
        if failure.final or attempt >= self._patience.attempts:
            return GiveUp(parcel, attempt, failure.reason)
        return MarkFailed(parcel, attempt, failure.reason)

    def _message(self, row: asyncpg.Record, requested: Recorded[SubscriptionRequested], contact: Contact) -> Message:
        """What the subscriber reads, and what his programs do."""
        event, subscription_id = requested.event, requested.stream_id
        stop_url = self._stop_url.format(id=subscription_id)
        if row["alert_id"] is None:
            headline, text = phrases.confirmation(event.language, event.area, contact.code)
            confirm = {"subscription_id": subscription_id, "area": event.area, "code": contact.code}
            return Message(row["id"], "subscription.confirm", row["queued_at"], headline, text, stop_url, confirm)
        headline, text = (_bilingual(row[name]).in_language(event.language) for name in ("headline", "text"))
        data = {
            "alert_id": row["alert_id"],
            "subscription_id": subscription_id,
            "area": row["area"],
            "place": phrases.place(row["area"]),
            "headline": headline,
            "text": text,
            **{name: row[name] for name in ("category", "severity", "urgency", "certainty", "about", "source_type")},
            "stop_url": stop_url,
        }
        text = f"{text}\n\n{phrases.stop_hint(event.language, stop_url)}"
        return Message(row["id"], "alert.raised", row["queued_at"], headline, text, stop_url, data)

    async def _record(
        self, row: asyncpg.Record, command: DeliveryCommand, attempt: int, traceparent: str, *, new: bool
    ) -> None:
        """Record the outcome of the n-th attempt once, however long the log takes to come back."""
        delivery_id: UUID = row["id"]
        metadata = Metadata(
            correlation_id=row["correlation_id"],
            causation_id=str(row["alert_id"] or row["subscription_id"]),
            actor="sender",
            traceparent=traceparent,
        )
        while True:
            try:
                await handle(self._log, DELIVERY, delivery_id, command, f"{delivery_id}:{attempt}", metadata, new=new)
            except Unavailable as error:
                _log.warning("an outcome waits to be recorded", delivery=str(delivery_id), error=repr(error))
                await asyncio.sleep(0.5)
                new = False
            except Refused as refusal:
                _log.warning("another sender was first", delivery=str(delivery_id), rule=refusal.rule)
                return
            else:
                return

    async def _stop(self, subscription_id: UUID, delivery_id: UUID) -> None:
        """The receiver is gone for good, or was erased: nothing more is sent there, and its contact is forgotten."""
        metadata = Metadata(causation_id=str(delivery_id), actor="sender")
        command = StopSubscription(subscription_id, "gone")
        await handle(self._log, SUBSCRIPTION, subscription_id, command, f"{delivery_id}:gone", metadata)
        await self._vault.erase(subscription_id)


async def _send(channel: Channel, contact: Contact, message: Message) -> None:
    """Raises Undelivered, TimeoutError. What else goes wrong is logged without its message: it may name the contact."""
    try:
        await channel.send(contact, message)
    except (Undelivered, TimeoutError):
        raise
    except Exception as error:
        kind = type(error).__name__
        _log.critical("channel fails", error=kind, stack="".join(traceback.format_tb(error.__traceback__)))
        raise Undelivered(f"the channel fails: {kind}") from None
