"""The partners' durable consumers on one service's stream, kept by its worker as the file of partners says.

A partner goes on from any position that there is: its wish is looked at here, for the server itself would take one
beyond the stream's end, and would refuse one before that from which a consumer was made. Each wish leaves a mark at the
consumer, by which two programs with one seed notice each other.

Where each stands is in the server's memory, and once a second in a bucket for all together: a server that writes the
state of 200 consumers to the disk, each several times a second, has little time for anything else.
"""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import uuid4

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.kv import KeyValue

from rembuk.broker.heeding import heed
from rembuk.broker.stream_names import stream_name
from rembuk.partners.nats_accounts import RESETTING
from rembuk.partners.partners import Partner, Partners
from rembuk.partners.roster import BadRoster
from rembuk.process.cancelling import cancel

UNACKNOWLEDGED, PULLS = 1_000, 32
"""How many messages a consumer hands out before one is acknowledged; how many pulls may wait at it."""
ACKNOWLEDGED_WITHIN_S = 30.0
PAUSE_S = 1.0
WISHES = 10
"""How many of a partner's are heeded in a second."""
ANSWER_S = 5.0
INVALID_RESET = 10204
"""As nats-server calls what it cannot reset a consumer to."""
READER = "reader"
"""The key in a consumer's metadata under which it is noted who reads it: another value after each reset, none where
nobody has asked for one since the consumer was made."""
_KEY = "positions"
_decode = msgspec.json.Decoder(dict[str, int]).decode


class _Wish(msgspec.Struct, frozen=True):
    """From which position on; 0 goes on behind the last that was acknowledged before any that was not."""

    seq: Annotated[int, msgspec.Meta(ge=0)] = 0


_log = structlog.get_logger(__name__)


def consumer_config(region: str, service: str, partner: Partner) -> ConsumerConfig:
    """A partner's durable consumer on a service's stream: what its scope sees. It begins at the beginning, so that it
    can be reset to any position."""
    return ConsumerConfig(
        durable_name=partner.name,
        filter_subjects=partner.scope.subjects(region, service),
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACKNOWLEDGED_WITHIN_S,
        max_ack_pending=UNACKNOWLEDGED,
        max_waiting=PULLS,
        mem_storage=True,
    )


class Consumers:
    """The partners' consumers on one service's stream, kept as the file of partners says: made where they are missing,
    from where their partner has acknowledged everything, and deleted when their partner is revoked. A broker that was
    killed may forget the last second, and one that has lost its disk everything."""

    def __init__(self, broker: Client, region: str, service: str, partners: Partners) -> None:
        self._broker, self._jetstream = broker, broker.jetstream()
        self._region, self._service, self._partners = region, service, partners
        self._stream = stream_name(region, service)
        self._bucket = f"{self._stream}_PARTNERS"
        self._heeding: dict[str, asyncio.Task[None]] = {}  # by partner

    async def run(self) -> None:
        """Keep them until cancelled; what cannot be done is said and tried again."""
        try:
            while True:
                try:
                    await self.keep()
                except nats.js.errors.NotFoundError:
                    pass  # the relay has not made the stream yet
                except (nats.errors.Error, BadRoster) as error:
                    _log.warning("partners' consumers are not kept", stream=self._stream, error=repr(error))
                await asyncio.sleep(PAUSE_S)
        finally:
            await cancel(self._heeding.values())

    async def keep(self) -> None:
        """Once. Raises nats.errors.Error, BadRoster."""
        known = self._partners.read()
        if not known:
            return
        there = await self._there()
        bucket, kept = await self._kept()
        positions: dict[str, int] = {}
        for partner in known:
            wanted = partner.revoked_at is None and bool(partner.nkey) and self._service in partner.scope.services
            consumer, position = there.get(partner.name), kept.get(partner.name, 0)
            if consumer is not None and consumer.ack_floor is not None:
                position = consumer.ack_floor.stream_seq
            if consumer is not None and not (wanted and self._is_as_told(consumer, partner)):
                await self._jetstream.delete_consumer(self._stream, partner.name)
                _log.info("partner has no consumer any more", partner=partner.name, stream=self._stream)
                consumer = None
            if wanted and consumer is None:
                await self._make(partner, position)
                _log.info("partner has a consumer", partner=partner.name, stream=self._stream, position=position)
            if wanted:
                positions[partner.name] = position
            await self._listen(partner.name, wanted)
        if positions != kept:
            await bucket.put(_KEY, msgspec.json.encode(positions))

    async def _make(self, partner: Partner, position: int) -> None:
        """A consumer that goes on behind a position; none where that fails."""
        await self._jetstream.add_consumer(self._stream, consumer_config(self._region, self._service, partner))
        try:
            if position:
                await self._jetstream.reset_consumer(self._stream, partner.name, seq=position + 1)
        except BaseException:
            await self._jetstream.delete_consumer(self._stream, partner.name)
            raise

    async def _listen(self, partner: str, wanted: bool) -> None:
        """Heed the wishes of a partner, or none any more."""
        heeding = self._heeding.get(partner)
        if wanted and (heeding is None or heeding.done()):
            subject = f"{RESETTING}.{self._stream}.{partner}"
            wishes = heed(self._broker, subject, self._heed, WISHES, queue="partners")
            self._heeding[partner] = asyncio.create_task(wishes, name=f"wishes of {partner}")
        elif not wanted and heeding is not None:
            await cancel([self._heeding.pop(partner)])

    async def _heed(self, wish: Msg) -> None:
        await wish.respond(await self._reset(wish))  # who hears nothing asks again

    async def _reset(self, wish: Msg) -> bytes:
        """What the server says, or we in its stead where the position is none that there is yet."""
        try:
            understood = msgspec.json.decode(wish.data, type=_Wish) if wish.data else _Wish()
        except msgspec.MsgspecError as error:
            return _refused(f'a reset is asked for as {{"seq": position}}: {error}')
        head = (await self._jetstream.stream_info(self._stream)).state.last_seq
        if understood.seq > head + 1:
            return _refused(f"position {understood.seq - 1} is beyond the head of {self._stream}, which is {head}")
        await self._note_reader(wish.subject.rpartition(".")[2])
        asked = wish.subject.replace(RESETTING, "$JS.API.CONSUMER.RESET", 1)
        told = msgspec.json.encode(understood)  # the server reads JSON otherwise: `SEQ` would be a position to it
        return (await self._broker.request(asked, told, timeout=ANSWER_S)).data

    async def _note_reader(self, partner: str) -> None:
        """Give a consumer another reader, before it is reset: whoever finds another one there than the reset told him
        shares it with a second program. Of what he had before he looked, nothing was the second one's."""
        config = (await self._jetstream.consumer_info(self._stream, partner)).config
        await self._jetstream.add_consumer(self._stream, config.evolve(metadata={READER: uuid4().hex}))

    def _is_as_told(self, consumer: ConsumerInfo, partner: Partner) -> bool:
        """Not so after its scope was changed, and where an earlier release made it."""
        found, told = consumer.config, partner.scope.subjects(self._region, self._service)
        sees = found.filter_subjects or [found.filter_subject or ""]
        begins = found.deliver_policy == DeliverPolicy.ALL
        return begins and bool(found.mem_storage) and sorted(sees) == sorted(told)

    async def _there(self) -> dict[str, ConsumerInfo]:
        found: dict[str, ConsumerInfo] = {}
        while page := await self._jetstream.consumers_info(self._stream, len(found)):
            found |= {one.name: one for one in page}
        return found

    async def _kept(self) -> tuple[KeyValue, dict[str, int]]:
        """Where the positions are kept, made where it is not there, and those in it."""
        try:
            bucket = await self._jetstream.key_value(self._bucket)
        except nats.js.errors.BucketNotFoundError:
            bucket = await self._jetstream.create_key_value(bucket=self._bucket)
        try:
            return bucket, _decode((await bucket.get(_KEY)).value or b"{}")
        except nats.js.errors.KeyNotFoundError:
            return bucket, {}


def _refused(why: str) -> bytes:
    error = {"code": 400, "err_code": INVALID_RESET, "description": f"invalid reset: {why}"}
    return msgspec.json.encode({"type": "io.nats.jetstream.api.v1.consumer_reset_response", "error": error})
