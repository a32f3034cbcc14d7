"""The sender: takes what is due from the ledger, sends it, and records what came of it.

The ledger tells what may be due; the log tells what is. Before a message leaves, the delivery's own events and those
of its subscription are read, so a ledger that was rebuilt, lost or lags behind never makes anything leave twice, and
a stop counts from the moment it is recorded. Where the database fails before a message leaves, it is tried again as
soon as the database answers; where it fails afterwards, the outcome waits for it. What is left is a crash between
sending and recording: then the message is sent once more under the same id, by which its receiver knows it.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog
from rembuk import tracing
from rembuk.contracts.notifications import SubscriptionRequested
from rembuk.events.decider import Refused
from rembuk.events.event import Metadata, RecordedEvent
from rembuk.keys.region_key import Tampered, WrongRegionKey
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle
from rembuk.partners.retry_after import LONGEST_RETRY_AFTER_S
from rembuk.postgres.database import AGAIN_S, UNREACHABLE, KeptConnection, is_unreachable
from rembuk.process import logs
from rembuk.sealing.vault import Erased, NotSealed, Vault

from notifications.channels import Busy, Channel, Message, Undelivered
from notifications.commands import (
    CallOff,
    Contact,
    DeliveryCommand,
    GiveUp,
    MarkFailed,
    MarkSent,
    Parcel,
    StopSubscription,
)
from notifications.contacts import BadContact, same
from notifications.delivery.composing import compose, message_id, requeued_at
from notifications.delivery.lanes import Lane, lanes
from notifications.delivery.ledger import Ledger
from notifications.delivery.patience import Patience
from notifications.domain import DELIVERY, SUBSCRIPTION, delivery_id
from notifications.domain.delivery import Pending
from notifications.domain.subscription import Confirmed, Requested

SEND_S = 15.0
"""How long one attempt may take, all in all."""
FINISH_S = 8.0
"""How long a stopping sender lets messages on their way arrive: less than what `rembuk.process.cancelling` allows."""
FORGET_S = 3600.0
"""How often what is remembered of contacts for no use any more is deleted, and what a wrong clock has postponed taken
up."""
CORRECTION_S = 2.0
"""How long a correction waits each time for what it corrects to be settled."""
POLL_S = 5.0
"""How often the ledger is looked at without a word from it: for what a crashed sender left behind."""
_log = structlog.get_logger(__name__)
_contact = msgspec.json.Decoder(Contact).decode


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
        self._ledger = Ledger(database_url, "notifications ledger")
        self._channels, self._patience, self._stop_url = channels, patience, stop_url
        self._news = asyncio.Event()
        self._connection = KeptConnection(database_url, "notifications sender", self._listen)
        self._lanes = lanes()
        self._to_postpone: dict[UUID, tuple[datetime, float]] = {}  # its lease, and when by our clock it is due again

    async def run(self) -> None:
        """Send until cancelled; what is on its way then is finished and recorded."""
        await self._ledger.start()
        forget_at = 0.0
        try:
            while True:
                try:
                    await self._connection.get()
                    if time.monotonic() >= forget_at:
                        await self._ledger.forget()
                        await self._ledger.set_right(LONGEST_RETRY_AFTER_S)
                        forget_at = time.monotonic() + FORGET_S
                    await self._round()
                except UNREACHABLE as error:
                    _log.warning("sender waits for its ledger", error=repr(error))
                    self._connection.drop()
                    await asyncio.sleep(0.5)
        finally:
            await self._finish()
            self._connection.drop()
            await self._ledger.stop()

    async def _finish(self) -> None:
        """Let what is on its way arrive and be recorded, however often we are cancelled meanwhile; then no longer."""
        deadline = time.monotonic() + FINISH_S
        sending = self._on_their_way()
        while sending and (left := deadline - time.monotonic()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.wait(sending, timeout=left)
                break
        for task in sending:
            task.cancel()

    async def _listen(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.add_listener("delivery_queued", lambda *_: self._news.set())

    async def _round(self) -> None:
        """Take what each lane has room for, then wait until something ends or comes."""
        if self._news.is_set():
            self._look_again()
            self._news.clear()
        await self._postpone()
        for name, lane in self._lanes.items():
            await self._fill(name, lane)
        news = asyncio.create_task(self._news.wait())
        more_room_in = min((left for lane in self._lanes.values() if (left := lane.more_room_in())), default=POLL_S)
        done, _ = await asyncio.wait(
            [*self._on_their_way(), news], timeout=min(POLL_S, more_room_in), return_when=asyncio.FIRST_COMPLETED
        )
        news.cancel()
        if not done and more_room_in >= POLL_S:
            self._look_again()
        for lane in self._lanes.values():
            lane.clear()

    async def _postpone(self) -> None:
        """Note in the ledger what is due again before its lease ends; what cannot be noted is noted the next time."""
        for delivery, (lease, due) in list(self._to_postpone.items()):
            pause = max(0.0, due - time.monotonic())
            await self._ledger.postpone(delivery, lease, pause)
            del self._to_postpone[delivery]
            asyncio.get_running_loop().call_later(pause + 0.01, self._news.set)

    async def _fill(self, name: str, lane: Lane) -> None:
        """Take so many of a lane as are due, unless it had none and nothing has come since."""
        room = lane.room()
        if room <= 0 or lane.empty:
            return
        rows = await self._ledger.take(name, room, list(lane.tasks))
        lane.empty = len(rows) < room
        for row in rows:
            lane.begin(row["id"], asyncio.create_task(self._try(row), name=f"delivery {row['id']}"))

    def _on_their_way(self) -> list[asyncio.Task[None]]:
        return [task for lane in self._lanes.values() for task in lane.tasks.values()]

    def _look_again(self) -> None:
        for lane in self._lanes.values():
            lane.empty = False

    async def _try(self, row: asyncpg.Record) -> None:
        """`_deliver`; where it fails its lease runs out, then it is tried again."""
        logs.begin_journey(row["correlation_id"])
        try:
            with tracing.under(row["traceparent"], "deliver", "CONSUMER") as span:
                pause = await self._deliver(row, span)
        except Busy as busy:
            pause = busy.pause
        except Exception as error:
            if is_unreachable(error):  # nothing has left: what fails afterwards is insisted on
                _log.warning("a delivery waits for the database", delivery=str(row["id"]), error=repr(error))
                pause = AGAIN_S
            else:
                _log.critical("delivery fails", delivery=str(row["id"]), exc_info=error)
                pause = None
        if pause is not None:
            self._to_postpone[row["id"]] = row["due_at"], time.monotonic() + pause

    async def _deliver(self, row: asyncpg.Record, span: tracing.Span) -> float | None:
        """One attempt, if the log still wants it; the pause in seconds when it is to be tried again."""
        history = await self._log.read_stream(row["id"])
        state = DELIVERY.fold(one.event for one in history)
        if not isinstance(state, Pending):
            return None  # the ledger is about to hear of it
        subscription = await self._log.read_stream(row["subscription_id"])
        requested: RecordedEvent[SubscriptionRequested] = subscription[0]
        area = row["area"] if row["alert_id"] else requested.event.area
        parcel = Parcel(area, row["subscription_id"], row["alert_id"])
        wanted = Confirmed if row["alert_id"] else Requested
        command: DeliveryCommand
        subscribed = SUBSCRIPTION.fold(one.event for one in subscription)
        pause = 0.0
        if not isinstance(subscribed, wanted):
            command = CallOff(parcel, "stopped")
        elif row["withdrawn"]:
            command = CallOff(parcel, "withdrawn")
        elif row["corrects"] and not await self._was_sent(row["corrects"], row["subscription_id"]):
            command = CallOff(parcel, "nothing_to_correct")
        elif row["alert_id"] and _is_suspended(row, history):
            command = GiveUp(parcel, state.past.attempts, "suspended: an earlier message was refused for good")
        else:
            command, pause = await self._attempt(row, requested, parcel, history, state)
        span.tell(area=area, channel=requested.event.channel, outcome=type(command).__name__)
        await self._record(row, command, len(history) + 1, span.traceparent, new=not history)
        if isinstance(command, MarkFailed):
            span.fail("Undelivered")
            return max(self._patience.pause(command.attempt - state.before), pause)
        return None

    async def _attempt(
        self,
        row: asyncpg.Record,
        requested: RecordedEvent[SubscriptionRequested],
        parcel: Parcel,
        history: Sequence[RecordedEvent[Any]],
        state: Pending,
    ) -> tuple[DeliveryCommand, float]:
        """Open the contact and send; what came of it, and for how many seconds the receiver wants to be left alone.
        Raises Busy where it is not to be sent yet."""
        channel, mark, attempt = requested.event.channel, b"", state.past.attempts + 1
        id = message_id(row["id"], state.past)
        at = (requeued_at(history) if state.past.sendings else None) or row["queued_at"]
        try:
            contact = _contact(await self._vault.open(requested.event.contact, requested.id, fresh=True))
            with suppress(BadContact):  # taken when less was checked; its channel says so
                mark = self._vault.mark(f"{channel} {same(channel, contact.to)}")
            await self._admit(row, mark, code_for=str(id))
            message = compose(row, id, at, requested, contact, self._stop_url)
        except Erased:
            await self._stop(parcel.subscription_id, row["id"])
            return CallOff(parcel, "stopped"), 0
        except (Tampered, NotSealed, WrongRegionKey) as error:
            failure: Undelivered | None = Undelivered(f"the contact cannot be opened: {type(error).__name__}")
        else:
            failure = await _send(self._channels[channel], contact, message)
        if failure is None:
            if row["bounced_at"] or row["alert_id"] is None:  # the ledger did not know a new subscription's contact
                await _insist(row["id"], lambda: self._ledger.reached(mark))
            return MarkSent(parcel, attempt), 0
        if failure.gone:
            await _insist(row["id"], lambda: self._stop(parcel.subscription_id, row["id"]))
        if failure.bounced:
            await _insist(row["id"], lambda: self._ledger.bounced(mark))
        if failure.final or attempt - state.before >= self._patience.attempts:
            return GiveUp(parcel, attempt, failure.reason), 0
        return MarkFailed(parcel, attempt, failure.reason), failure.pause

    async def _was_sent(self, alert_id: UUID, subscription_id: UUID) -> bool:
        """Whether a withdrawn alert has left for a recipient. Raises Busy while that is open."""
        withdrawn = delivery_id(alert_id, subscription_id)
        state = DELIVERY.fold(one.event for one in await self._log.read_stream(withdrawn))
        if isinstance(state, Pending):
            await self._ledger.hasten(withdrawn)
            raise Busy(CORRECTION_S)
        return state.past.sendings > 0

    async def _admit(self, row: asyncpg.Record, mark: bytes, code_for: str) -> None:
        """Remember where it goes; a code waits until its contact may be sent another. Raises Busy."""
        if mark and mark != row["mark"]:
            await self._ledger.mark(row["subscription_id"], mark)
        if mark and row["alert_id"] is None:
            pause = await self._ledger.code_pause(mark, code_for, self._patience.code_pause_s)
            if pause:
                raise Busy(pause)

    async def _record(
        self, row: asyncpg.Record, command: DeliveryCommand, version: int, traceparent: str, *, new: bool
    ) -> None:
        """Record the outcome as the n-th event of its delivery, once, however long the log takes to come back."""
        id: UUID = row["id"]
        metadata = Metadata(
            correlation_id=row["correlation_id"],
            causation_id=str(row["alert_id"] or row["subscription_id"]),
            actor="sender",
            traceparent=traceparent,
        )

        async def record() -> None:
            nonlocal new
            first, new = new, False  # asked again, it may be there already
            await handle(self._log, DELIVERY, id, command, f"{id}:{version}", metadata, new=first)

        try:
            await _insist(id, record)
        except Refused as refusal:
            _log.warning("another sender was first", delivery=str(id), rule=refusal.rule)

    async def _stop(self, subscription_id: UUID, because: UUID) -> None:
        """The receiver is gone for good, or was erased: nothing more is sent there, and its contact is forgotten."""
        metadata = Metadata(causation_id=str(because), actor="sender")
        command = StopSubscription(subscription_id, "gone")
        await handle(self._log, SUBSCRIPTION, subscription_id, command, f"{because}:gone", metadata)
        await self._vault.erase(subscription_id)


def _is_suspended(row: asyncpg.Record, history: Sequence[RecordedEvent[Any]]) -> bool:
    """Whether its contact was refused for good, and an operator has asked for nothing there since."""
    since = requeued_at(history)
    return row["bounced_at"] is not None and (since is None or row["bounced_at"] > since)


async def _send(channel: Channel, contact: Contact, message: Message) -> Undelivered | None:
    """Why it was not taken; None where it was. Raises Busy. What goes wrong otherwise is logged without its message,
    which may name the contact."""
    try:
        async with asyncio.timeout(SEND_S):
            await channel.send(contact, message)
    except Busy:
        raise
    except TimeoutError:
        return Undelivered("timeout")
    except Undelivered as undelivered:
        return undelivered
    except Exception as error:
        kind = type(error).__name__
        _log.critical("channel fails", error=kind, stack="".join(traceback.format_tb(error.__traceback__)))
        return Undelivered(f"the channel fails: {kind}")
    return None


async def _insist(delivery: UUID, note: Callable[[], Awaitable[None]]) -> None:
    """Note what came of an attempt, however long the database takes to come back: it is not made a second time."""
    while True:
        try:
            return await note()
        except Exception as error:
            if not is_unreachable(error):
                raise
            _log.warning("an outcome waits to be recorded", delivery=str(delivery), error=repr(error))
            await asyncio.sleep(AGAIN_S / 2)
