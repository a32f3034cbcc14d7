"""A region whose services run, joined to the hub by a link that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import msgspec
import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig
from rembuk.broker.stream_names import stream_name
from rembuk.federation.hub_regions import JOINED
from rembuk.testing import tallies
from rembuk.testing.link import NetworkLink
from rembuk.testing.load import Ask, Clients
from rembuk.testing.patience import NOT_YET
from rembuk.testing.services import RunningRegion, eventually

from tests.hub.conftest import Hub

PROBLEM = {"area": "35.78.08", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


class Joined:
    """A region whose processes run, and whose nats-server reaches the hub through a link that can be cut."""

    def __init__(self, hub: Hub, postgres_url: str, extra: dict[str, str] | None = None) -> None:
        self.hub, self.federation = hub, hub.federation
        self.link = NetworkLink(hub.federation.leaf_port)
        self.running = RunningRegion(postgres_url, "", ("reports",), {JOINED: "1", **(extra or {})})
        self.name = self.running.region.name
        self.federation.admit(self.name)
        self.nats = self.federation.start_region(self.name, self.link.port)
        self.running.region = msgspec.structs.replace(self.running.region, nats_url=self.nats.url)
        self.running.prepare()
        self.running.start_all()

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[Clients]:
        """Clients who report; nobody is told to come again."""
        draw = lambda _: Ask("reports", "/v1/problems", PROBLEM)  # noqa: E731
        async with Clients(lambda _: self.running.url("reports"), draw, clients=6, at_most=3_000) as clients:
            await clients.more(20)
            yield clients
        assert set(clients.answers) == {201}
        assert not clients.broken

    async def log(self) -> list[str]:
        """The ids of all events, in order."""
        database = await asyncpg.connect(self.running.region.database("reports").service_url)
        ids = [str(row["id"]) for row in await database.fetch("select id from log.event order by position")]
        await database.close()
        return ids

    async def mirror(self) -> list[str]:
        """The ids of all events that the hub holds, in order."""
        stream = stream_name(self.name, "reports")
        async with self.federation.at_hub(self.name) as jetstream:
            consumer = await jetstream.add_consumer(stream, ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True))
            pull = await jetstream.pull_subscribe_bind(consumer.name, stream)
            ids: list[str] = []
            while len(ids) < consumer.num_pending:
                ids += [(message.headers or {})["Nats-Msg-Id"] for message in await pull.fetch(500, 5)]
            return ids

    async def level(self) -> None:
        """The hub comes to hold and show all of it, each event once; that the region introduces itself is among it."""
        await asyncio.to_thread(eventually, self._has_introduced_itself, 30)
        away = (OSError, TimeoutError, httpx.TransportError, nats.errors.Error, nats.js.errors.Error)
        await tallies.eventually(self._is_level, 60, (*NOT_YET, *away))

    async def _is_level(self) -> None:
        """Retried as a whole: a region whose vault was made anew introduces itself again at a time of its own."""
        ids = await self.log()
        stream = await asyncio.to_thread(self.hub.stream, self.name)
        assert (stream["state"], stream["shown"], stream["position"]) == ("level", len(ids), len(ids)), stream
        assert await self.mirror() == ids
        assert self.hub.events(self.name) == len(ids)

    def _has_introduced_itself(self) -> None:
        assert self.running.ask("reports", "select 1 from log.event where type = 'RegionIntroduced'")

    async def asked(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """What the database of its reports answers."""
        return await asyncio.to_thread(self.running.ask, "reports", query, *arguments)

    def end(self) -> None:
        self.running.stop_all()
        self.link.end()
