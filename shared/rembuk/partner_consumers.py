"""The partners' durable consumers on one service's stream, kept by its worker as the file of partners says."""

from __future__ import annotations

import asyncio

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from rembuk.partners import Partner, Partners
from rembuk.roster import BadRoster
from rembuk.streams import stream_name

UNACKNOWLEDGED, PULLS = 1_000, 32
"""How many messages a consumer hands out before one is acknowledged; how many pulls may wait at it."""
ACKNOWLEDGED_WITHIN_S = 30.0
PAUSE_S = 1.0

_log = structlog.get_logger(__name__)


def consumer_config(region: str, service: str, partner: Partner) -> ConsumerConfig:
    """A partner's durable consumer on a service's stream: what its scope sees, from the beginning."""
    return ConsumerConfig(
        durable_name=partner.name,
        filter_subjects=partner.scope.subjects(region, service),
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACKNOWLEDGED_WITHIN_S,
        max_ack_pending=UNACKNOWLEDGED,
        max_waiting=PULLS,
    )


class Consumers:
    """The partners' consumers on one service's stream, kept as the file of partners says: made where they are missing,
    also after the broker has lost its disk, and deleted when their partner is revoked."""

    def __init__(self, broker: Client, region: str, service: str, partners: Partners) -> None:
        self._jetstream = broker.jetstream()
        self._region, self._service, self._partners = region, service, partners
        self._stream = stream_name(region, service)

    async def run(self) -> None:
        """Keep them until cancelled; what cannot be done is said and tried again."""
        while True:
            try:
                await self.keep()
            except nats.js.errors.NotFoundError:
                pass  # the relay has not made the stream yet
            except (nats.errors.Error, BadRoster) as error:
                _log.warning("partners' consumers are not kept", stream=self._stream, error=repr(error))
            await asyncio.sleep(PAUSE_S)

    async def keep(self) -> None:
        """Once. Raises nats.errors.Error, BadRoster."""
        known = self._partners.read()
        if not known:
            return
        there = await self._names()
        for partner in known:
            wanted = partner.revoked_at is None and bool(partner.nkey) and self._service in partner.scope.services
            if wanted and partner.name not in there:
                await self._jetstream.add_consumer(self._stream, consumer_config(self._region, self._service, partner))
                _log.info("partner has a consumer", partner=partner.name, stream=self._stream)
            elif not wanted and partner.name in there:
                await self._jetstream.delete_consumer(self._stream, partner.name)
                _log.info("partner has no consumer any more", partner=partner.name, stream=self._stream)

    async def _names(self) -> set[str]:
        names: set[str] = set()
        while page := await self._jetstream.consumers_info(self._stream, len(names)):
            names.update(one.name for one in page)
        return names
