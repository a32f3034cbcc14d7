"""The hub's processes beside real nats-servers; each test admits regions of its own."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from hub.projection import projection
from rembuk.broker.stream_names import stream_name
from rembuk.contracts.reports import ProblemReported
from rembuk.events.event import Event, Metadata, RecordedEvent
from rembuk.postgres import bulk
from rembuk.proof.signed_note import Signer
from rembuk.testing.federation import Federation, federation, publish
from rembuk.testing.services import TEST_KEY, RunningRegion, eventually

STALLED_S = 6


def reported(area: str = "35.78.08.1004", category: str = "theft", disclosure: str = "public") -> tuple[UUID, Event]:
    return uuid4(), ProblemReported(area, category, "Motor hilang", "sealed:v1:x", disclosure)


class Hub:
    """The hub as an operator and a reader see it."""

    def __init__(self, federation: Federation, service: RunningRegion, log: Signer) -> None:
        self.federation, self.service = federation, service
        self.log = log  # the one that it is a witness of
        self.api = httpx.Client(base_url=service.url("hub"), timeout=10)

    def admitted(self, name: str = "", port: int = 0, **denied: list[str]) -> str:
        """A region of its own, which the hub has admitted and whose nats-server runs; the rest as for start_region."""
        name = name or "r" + secrets.token_hex(4)
        self.federation.admit(name)
        self.federation.start_region(name, port, **denied)
        return name

    async def begun(self, number: int) -> list[str]:
        """So many regions that the hub knows: what is addressed to one that it has not read of is set aside."""
        names = [self.admitted() for _ in range(number)]
        for name in names:
            await asyncio.to_thread(eventually, partial(self.region, name))
        return names

    async def told(
        self, region: str, *facts: tuple[UUID, Event], service: str = "reports", at: datetime | None = None
    ) -> int:
        async with self.federation.at_region(region) as jetstream:
            return await publish(jetstream, region, service, *facts, at=at)

    def get(self, path: str, **parameters: Any) -> Any:
        return self.api.get(path, params=parameters).raise_for_status().json()

    def region(self, name: str) -> dict[str, Any]:
        found = [one for one in self.get("/v1/regions") if one["name"] == name]
        assert found, f"{name} is not known"
        return dict(found[0])

    def stream(self, name: str, service: str = "reports") -> dict[str, Any]:
        found = [one for one in self.region(name)["streams"] if one["service"] == service]
        assert found, f"{service} of {name} has not been looked at"
        return dict(found[0])

    def comes_to(self, name: str, state: str, position: int, service: str = "reports") -> dict[str, Any]:
        """How the stream stands once it is so, within a minute."""

        def check() -> dict[str, Any]:
            stream = self.stream(name, service)
            assert (stream["state"], stream["position"]) == (state, position), stream
            assert state != "level" or stream["shown"] == position == stream["region_position"], stream
            return stream

        return eventually(check, 60)

    def metric(self, name: str, region: str, service: str = "reports") -> float | None:
        """What Prometheus is told of a region's stream."""
        label = f'stream="{stream_name(region, service)}"'
        lines = [one for one in self.api.get("/metrics").text.splitlines() if one.startswith(f"{name}{{")]
        values = [float(line.rpartition(" ")[2]) for line in lines if label in line]
        return values[0] if values else None

    def waiting(self, region: str) -> float:
        """How many letters for a region Prometheus is told of."""
        lines = [one for one in self.api.get("/metrics").text.splitlines() if one.startswith("rembuk_hub_letters")]
        [line] = [one for one in lines if f'region="{region}"' in one]
        return float(line.rpartition(" ")[2])

    def events(self, region: str) -> int:
        """How many events of a region were projected, each as often as it was."""
        return sum(one["events"] for one in self.get("/v1/activity", by="type", region=region))


@pytest.fixture(scope="module")
def hub(postgres_url: str) -> Iterator[Hub]:
    """A hub with its API and its worker, for all tests of a module."""
    with federation() as servers:
        log = Signer("polmas/witnessed/reports", secrets.token_bytes(32))
        logs = servers.roster.with_name("logs")
        logs.write_text(f"{log.verifier}\n")
        extra = {
            "REMBUK_WITNESSED_LOGS": str(logs),
            "REMBUK_WITNESS_KEY": TEST_KEY,
            "REMBUK_HUB_REGIONS": str(servers.roster),
            "REMBUK_HUB_KEY": base64.b64encode(servers.key).decode(),
            "REMBUK_HUB_STALLED_SECONDS": str(STALLED_S),
        }
        service = RunningRegion(postgres_url, servers.hub.url, ("hub",), extra)
        service.prepare()
        service.start_all()
        try:
            yield Hub(servers, service, log)
        finally:
            service.stop_all()


@pytest.fixture(scope="session")
def database_url(postgres_url: str) -> str:
    """The owner's, who may make the temporary tables of a migration. Whoever writes into the hub's tables takes it
    back."""
    service = RunningRegion(postgres_url, "", ("hub",), {})
    service.prepare()
    return service.region.database("hub").owner_url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def project(
    database: asyncpg.Connection[Any], region: str, service: str, happened: Iterable[tuple[UUID, datetime, Event]]
) -> None:
    """One batch of a region's events, each of a problem or a meeting at a moment."""
    facts = [
        RecordedEvent(position, uuid4(), id, position, "", at, event, Metadata())
        for position, (id, at, event) in enumerate(happened, 1)
    ]
    changes = ((fact.stream_id, projection(region, service)(fact)) for fact in facts)
    await bulk.execute(database, bulk.grouped(changes))
