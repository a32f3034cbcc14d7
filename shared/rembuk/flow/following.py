"""Following a stream from a checkpoint: in order, without a hole, at least once; what is done with the events
(rows, reactions) and where the checkpoint stands belongs to the follower's process function."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import nats.errors
import nats.js.errors
import structlog
from faststream import AckPolicy
from faststream.message import StreamMessage
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy as JetStreamAck
from nats.js.api import ConsumerConfig, DeliverPolicy

from rembuk import tracing
from rembuk.broker.pulling import Pull
from rembuk.broker.streams import about, sequence
from rembuk.postgres.database import is_unreachable

BATCH = 500
LINGERS_S = {16: 0.04, 0: 0.01}
"""By how many messages the last batch had at least, how long the next gathers: fewer and larger transactions under
load, while the last value is the floor of latency."""
PATIENCE_S = 5.0
"""How long a pull waits on an idle stream: what an idle follower costs is one request in that time."""

_TOO_MUCH = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.InsufficientResourcesError)
"""What PostgreSQL may say to more than one transaction can bear (or what it says when it hangs): then half is tried."""

_log = structlog.get_logger(__name__)


class Hole(Exception):
    """The next event is missing: `expected` should have come, something later came."""

    def __init__(self, expected: int, came: int) -> None:
        super().__init__(f"expected position {expected}, got {came}")
        self.expected = expected


class _Stopping(Exception):
    """What could not be done yet is left to the next start."""


Process = Callable[[list[Msg]], Awaitable[None]]
"""Takes messages, does what `unseen` by its checkpoint, commits the checkpoint; raises Hole."""
Checkpoint = Callable[[], Awaitable[int]]
"""Waits until this process may follow (one at a time does), then tells the last position it has processed."""


class _RawBatch:
    """FastStream codec that hands the batch on as it came: decoding is the follower's, poison must not stop it."""

    async def encode(self, msg: Any, serializer: Any = None) -> tuple[bytes, str | None]:
        raise TypeError("a follower publishes nothing")

    async def encode_batch(self, msgs: Any, serializer: Any = None) -> list[tuple[bytes, str | None]]:
        raise TypeError("a follower publishes nothing")

    async def decode(self, msg: StreamMessage[Any]) -> Any:
        return msg.raw_message

    async def decode_batch(self, msg: StreamMessage[Any]) -> list[Any]:
        return list(msg.raw_message)


def unseen(messages: list[Msg], position: int) -> list[Msg]:
    """The messages that follow `position` up to the first gap, in order; [] when all were seen before; raises Hole."""
    sequences = list(map(sequence, messages))
    if sequences == list(range(position + 1, position + 1 + len(messages))):
        return messages
    by_sequence = {number: message for number, message in zip(sequences, messages, strict=True) if number > position}
    follow: list[Msg] = []
    while (message := by_sequence.get(position + len(follow) + 1)) is not None:
        follow.append(message)
    if by_sequence and not follow:
        raise Hole(position + 1, min(by_sequence))
    return follow


class _PatientPull:
    """What FastStream takes for its subscription: it waits long for the first message; once there was one, it lets
    company gather at the broker and takes all of it at once, unless a full batch is known to wait."""

    def __init__(self, pull: Pull, idle: Callable[[], Awaitable[None]], lost: Callable[[], Awaitable[None]]) -> None:
        self._pull, self._idle, self._lost = pull, idle, lost
        self._last = 0  # how many messages came last
        self._behind = False  # a full batch waits at the broker

    async def replace(self, pull: Pull) -> None:
        """Go on with another; what the former still holds is dropped."""
        former, self._pull = self._pull, pull
        await former.close()

    async def fetch(self, batch: int, timeout: float) -> list[Msg]:
        try:
            if self._last and not self._behind:
                await asyncio.sleep(next(linger for least, linger in LINGERS_S.items() if self._last >= least))
            messages = await self._pull.take(batch, 0 if self._last else PATIENCE_S)
        except Exception as error:  # FastStream would ask again at once, for ever, and say nothing
            self._last, self._behind = 0, False
            _log.warning("pull failed", error=repr(error), exc_info=not isinstance(error, nats.errors.Error))
            await asyncio.sleep(0.5)
            await self._lost()
            raise nats.errors.TimeoutError from error
        if not messages:
            if not self._last:
                await self._idle()
            self._last, self._behind = 0, False
            raise nats.errors.TimeoutError
        self._last, self._behind = len(messages), messages[-1].metadata.num_pending >= BATCH
        return messages

    async def unsubscribe(self) -> None:
        await self._pull.close()


class Follower:
    """A durable pull consumer of one whole stream, through FastStream.

    `name` names the durable consumer and shows in logs. Errors that may heal (a server away) are tried again with
    the same batch; a hole puts the consumer back to the checkpoint.
    """

    def __init__(self, broker: NatsBroker, stream: str, name: str, checkpoint: Checkpoint, process: Process) -> None:
        self._broker, self.stream, self.name = broker, stream, name
        self._checkpoint, self._process = checkpoint, process
        self._client: Client
        self._jetstream: JetStreamContext
        self._subscriber: Any = None
        self._pull: _PatientPull | None = None
        self._hole = 0
        self._live_after = 0  # what the stream held when we took our stand is read again, or late: see `tracing.batch`
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Wait for our turn and for the stream, then consume in the background."""
        self._client = await self._broker.connect()
        self._jetstream = self._client.jetstream()
        while True:
            await self._rewind()
            try:
                await self._subscribe()
            except nats.errors.Error as error:  # the broker went away in between
                _log.info("follower waits", follower=self.name, stream=self.stream, error=repr(error))
            else:
                return

    async def _subscribe(self) -> None:
        self._subscriber = self._broker.subscriber(
            f"{self.stream}.>",  # names the subscriber; the consumer is there already, and takes the whole stream
            stream=JStream(self.stream, declare=False),
            durable=self.name,
            pull_sub=PullSub(batch_size=BATCH, timeout=LINGERS_S[0], batch=True),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            codec=_RawBatch(),
        )
        self._subscriber(self._handle)
        await self._subscriber.start()
        theirs = self._subscriber.subscription
        self._pull = _PatientPull(self._new_pull(), self._settle, self._rewind)
        self._subscriber.subscription = self._pull  # before it was asked for anything
        await theirs.unsubscribe()

    async def stop(self) -> None:
        """Pull no more and finish the batch in hand, for the broker's `graceful_timeout` at most; one whose servers
        are away is left for the next start."""
        self._stopping.set()
        if self._subscriber is not None:
            await self._subscriber.stop()

    async def _rewind(self) -> None:
        """Have the consumer stand right behind the checkpoint, whatever it was before; retries until it does."""
        pause = 0.1
        while True:
            try:
                position = await self._checkpoint()
                with suppress(nats.js.errors.NotFoundError):
                    await self._jetstream.delete_consumer(self.stream, self.name)
                consumer = await self._jetstream.add_consumer(self.stream, self._consumer(position + 1))
                self._live_after = max(self._live_after, position + (consumer.num_pending or 0))
                if self._pull is not None:
                    await self._pull.replace(self._new_pull())
            except Exception as error:
                if not (is_unreachable(error) or isinstance(error, nats.errors.Error)):
                    raise
                _log.info("follower waits", follower=self.name, stream=self.stream, error=repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 3.0)
            else:
                _log.info("follower stands", follower=self.name, stream=self.stream, position=position)
                return

    def _new_pull(self) -> Pull:
        return Pull(self._client, self.stream, self.name)

    async def _settle(self) -> None:
        """On an idle stream nothing is under way: what the broker believes to have delivered got lost. And where a
        broker was killed between our making the consumer and subscribing to it, nats-py has made another, which is
        given no event."""
        try:
            consumer = await self._jetstream.consumer_info(self.stream, self.name)
        except nats.js.errors.NotFoundError:
            await self._rewind()
            return
        except nats.errors.Error as error:
            _log.info("follower waits", follower=self.name, stream=self.stream, error=repr(error))
            return
        if consumer.config.deliver_policy != DeliverPolicy.BY_START_SEQUENCE:
            _log.warning("the consumer is not ours", follower=self.name, stream=self.stream)
            await self._rewind()
        elif lost := consumer.num_ack_pending:
            _log.warning("delivered, but never came", follower=self.name, stream=self.stream, messages=lost)
            await self._rewind()

    def _consumer(self, start: int) -> ConsumerConfig:
        return ConsumerConfig(
            name=self.name,
            durable_name=self.name,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
            ack_policy=JetStreamAck.ALL,
            max_ack_pending=20_000,
            ack_wait=60,
            inactive_threshold=7 * 24 * 3600,
            mem_storage=True,  # the checkpoint knows where we stand; the broker need not write it down too
        )

    async def _handle(self, messages: list[Msg]) -> None:
        sequences = list(map(sequence, messages))
        whole = unseen(messages, min(sequences) - 1)  # only these may be acknowledged together
        last, came = sequence(whole[-1]), max(sequences)
        told = map(about, whole)
        try:
            with tracing.batch("process", self.stream, told, live_after=self._live_after, follower=self.name):
                await self._take(whole)
        except Hole as hole:
            await self._go_back(hole)
            return
        except _Stopping:
            return
        self._live_after = max(self._live_after, last)
        with suppress(nats.errors.Error):  # a lost acknowledgement costs a look at the checkpoint
            await whole[-1].ack()
        if last < came:
            await self._go_back(Hole(last + 1, came))

    async def _take(self, whole: list[Msg]) -> None:
        """Process messages until all are done, however often it fails. Raises Hole, _Stopping."""
        pause = 0.1
        done, at_once = 0, len(whole)
        while done < len(whole):
            try:
                await self._process(whole[done : done + at_once])
            except Hole:
                raise
            except Exception as error:
                if isinstance(error, _TOO_MUCH):
                    at_once = max(1, at_once // 2)
                if not is_unreachable(error):
                    _log.critical("follower fails", follower=self.name, stream=self.stream, exc_info=True)
                else:
                    _log.warning("follower waits", follower=self.name, stream=self.stream, error=repr(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
                    raise _Stopping from error
                pause = min(pause * 2, 5.0)
            else:
                done += at_once

    async def _go_back(self, hole: Hole) -> None:
        """Have it all delivered again from the checkpoint; a hole that stays is looked at once a second."""
        _log.warning("hole in the stream as delivered", follower=self.name, stream=self.stream, why=str(hole))
        if hole.expected == self._hole:
            await asyncio.sleep(1.0)
        self._hole = hole.expected
        await self._rewind()
