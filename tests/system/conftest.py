"""A whole town on servers of its own, made to be killed: what happens in it, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any
from uuid import UUID

import asyncpg
import forums.projection
import forums.tables
import httpx
import nats.errors
import nats.js.errors
import notifications.projection
import notifications.tables
import psutil
import pytest
import reports.projection
import reports.tables
from nats.aio.client import Client
from notifications.domain import delivery_id
from rembuk.broker.connecting import connect
from rembuk.broker.stream_names import stream_name
from rembuk.contracts import forums as forum_contract
from rembuk.contracts import notifications as notification_contract
from rembuk.contracts import reports as report_contract
from rembuk.embedded.postgres_server import EmbeddedPostgres
from rembuk.events.ids import derive_id
from rembuk.log.event_log import EventLog
from rembuk.postgres.database import UNREACHABLE, Unavailable
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.load import Ask, Clients
from rembuk.testing.receivers import Sink, only, sink
from rembuk.testing.services import RunningRegion
from rembuk.testing.soundness import Rows, log_is_dense, rows_are_a_fresh_replays, stream_is_the_log
from rembuk.testing.tallies import eventually

__all__ = ["sink"]

AWAY = (AssertionError, *UNREACHABLE, Unavailable, nats.errors.Error, nats.js.errors.Error)
WATCHED, ELSEWHERE, DISTRICT = "35.78.08.1004", "35.05.01", "35.78.08"
CODECS = {
    "reports": report_contract.CODEC,
    "forums": forum_contract.CODEC,
    "notifications": notification_contract.CODEC,
}
NEW = {"/v1/problems": "ProblemReported", "/v1/forums": "ForumFounded", "/v1/alerts": "AlertRaised"}
"""What a request to a path gives rise to, exactly once."""
ROWS = (
    Rows(
        "reports", reports.projection.NAME, "reports", report_contract.CODEC,
        reports.projection.project, (reports.tables.problem,),
    ),
    Rows(
        "forums", forums.projection.NAME, "forums", forum_contract.CODEC, forums.projection.project,
        (forums.tables.forum, forums.tables.member, forums.tables.meeting, forums.tables.commitment),
    ),
    Rows(
        "forums", forums.projection.OPEN_PROBLEMS, "reports", report_contract.CODEC,
        forums.projection.project_open_problems, (forums.tables.open_problem,),
    ),
    Rows(
        "notifications", notifications.projection.NAME, "notifications", notification_contract.CODEC,
        notifications.projection.project,
        (notifications.tables.subscription, notifications.tables.alert, notifications.tables.delivery),
        own=frozenset({"due_at"}),
    ),
)  # fmt: skip


def report(area: str = ELSEWHERE, **more: Any) -> Ask:
    """A resident's report."""
    problem = {"area": area, "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
    return Ask("reports", "/v1/problems", problem | more)


def draw(number: int) -> Ask:
    """What the n-th client wants: mostly to report a problem where nobody has subscribed."""
    match number % 32:
        case 0:
            return report(WATCHED)
        case 8 | 16:
            return report(reporter={"name": f"Budi {number}", "phone": "+62 812 3456 789"})
        case 12:
            notice = {"area": WATCHED, "headline": {"id": f"Awas {number}"}, "text": {"id": "Hati-hati."}}
            return Ask("notifications", "/v1/alerts", notice)
        case 24:
            return Ask("forums", "/v1/forums", {"area": DISTRICT, "model": "wilayah", "name": f"FKPM {number}"})
        case _:
            return report(description=f"Laporan nomor {number}.")


class Town:
    """A region with all its services, some subscribers, and the servers it stands on."""

    def __init__(self, region: RunningRegion, postgres: EmbeddedPostgres, broker: Any, sink: Sink) -> None:
        self.region, self.postgres, self.nats, self.sink = region, postgres, broker, sink
        self.subscribers: dict[UUID, str] = {}
        self.sent_again = False
        self.held = 0
        self._connections: dict[str, asyncpg.Connection[Any]] = {}
        self._broker: Client | None = None

    # What happens in it

    def clients(self, **how: Any) -> Clients:
        return Clients(self.region.url, draw, **how)

    async def subscribe(self, area: str) -> None:
        """A webhook of its own, confirmed, which will be told what happens in the area."""
        path = f"/{self.region.region.name}-{len(self.subscribers)}"
        wish = {"area": area, "channel": "webhook", "contact": self.sink.url + path}
        async with httpx.AsyncClient(base_url=self.region.url("notifications"), timeout=30) as http:
            subscription = (await http.post("/v1/subscriptions", json=wish)).raise_for_status().json()

            async def code() -> str:
                told: str = only(self.sink.at(path, "subscription.confirm")).json["data"]["code"]
                return told

            confirm = f"/v1/subscriptions/{subscription['id']}/confirm"
            confirmed = await http.post(confirm, json={"code": await eventually(code, 40)})
            position = confirmed.raise_for_status().json()["position"]

            async def shown() -> None:
                where = f"/v1/subscriptions/{subscription['id']}"
                assert (await http.get(where, params={"at_least": position})).is_success

            await eventually(shown, 40)
        self.subscribers[UUID(subscription["id"])] = path

    async def candidate(self, clients: Clients) -> str:
        """A verified problem of which forums has heard, so that a meeting can be about it."""
        problem: str = (await clients.ask(report(WATCHED)))["id"]
        verified = await clients.ask(Ask("reports", f"/v1/problems/{problem}/verify", {}))
        forums = await self.database("forums")

        async def heard() -> None:
            position = await forums.fetchval("select position from checkpoint where follower = 'open_problems'")
            assert position >= verified["position"]

        await eventually(heard, 40)
        return problem

    async def meet(self, clients: Clients, problem: str) -> None:
        """A forum is founded and meets: it agrees on a candidate, and three promises are made."""
        forum = (
            await clients.ask(Ask("forums", "/v1/forums", {"area": DISTRICT, "model": "wilayah", "name": "FKPM"}))
        )["id"]
        plan = {"forum_id": forum, "at": "2026-03-02T19:00:00+07:00", "place": "Balai", "agenda": [problem]}
        meeting = (await clients.ask(Ask("forums", "/v1/meetings", plan)))["id"]
        came = [
            {"pillar": "police", "sex": "male", "count": 1, "officers": 1},
            {"pillar": "residents", "sex": "female", "count": 7},
        ]
        await clients.ask(Ask("forums", f"/v1/meetings/{meeting}/attendance", {"attendance": came}))
        agreed = {"problem_id": problem, "proposal": "Ronda malam bersama", "strategies": ["partnership"]}
        promises = [{"who": "residents", "what": f"Ronda {n}", "by": "2026-04-01"} for n in range(3)]
        await clients.ask(Ask("forums", f"/v1/meetings/{meeting}/hold", {"agreements": [agreed], "promises": promises}))
        self.held += 1

    # Who is killed

    async def kill(self, service: str, process: str) -> None:
        """kill -9."""
        self.sent_again |= (service, process) == ("notifications", "worker")
        await asyncio.to_thread(self.region.kill, service, process)

    def start(self, service: str, process: str) -> None:
        self.region.start(service, process)

    async def ready(self) -> None:
        """Every API says that it can accept."""
        for service in self.region.services:
            await asyncio.to_thread(self.region.ready, service)

    async def kill_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.kill)

    async def start_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.start)

    async def crash_a_backend(self, application: str) -> None:
        """kill -9 the PostgreSQL process behind a connection; its postmaster then ends all others and recovers."""
        query = "select pid from pg_stat_activity where application_name like $1"

        async def connected() -> int:
            pids = await (await self.administrator()).fetch(query, f"%{application}%")
            assert pids, f"there is no {application}"
            return int(pids[0]["pid"])

        psutil.Process(await eventually(connected, 20, AWAY)).kill()

    def freeze_postgres(self) -> Callable[[], None]:
        """Have every process of PostgreSQL stand still, as on a machine or disk that hangs; thaws them."""
        assert self.postgres.pid is not None
        postmaster = psutil.Process(self.postgres.pid)
        frozen = [postmaster]
        postmaster.suspend()
        for child in postmaster.children(recursive=True):
            child.suspend()
            frozen.append(child)

        def thaw() -> None:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

        return thaw

    # What is seen of it

    async def database(self, service: str) -> asyncpg.Connection[Any]:
        """A connection of the test's own to the service's database, as its owner."""
        connection = self._connections.get(service)
        if connection is None or connection.is_closed():
            url = self.region.region.database(service).owner_url
            connection = self._connections[service] = await asyncpg.connect(url, timeout=5, command_timeout=20)
        return connection

    async def administrator(self) -> asyncpg.Connection[Any]:
        """A connection of the test's own as superuser."""
        connection = self._connections.get("")
        if connection is None or connection.is_closed():
            connection = self._connections[""] = await asyncpg.connect(self.postgres.url, timeout=5, command_timeout=20)
        return connection

    async def broker(self) -> Client:
        if self._broker is None:
            self._broker = await connect(self.region.region.nats_url, "test")
        return self._broker

    async def head(self, service: str) -> int:
        """The last position of a service's log."""
        return int(await (await self.database(service)).fetchval("select position from log.head"))

    async def tail(self, service: str) -> int:
        """The last sequence of a service's stream."""
        stream = stream_name(self.region.region.name, service)
        return (await (await self.broker()).jetstream().stream_info(stream, subjects_filter=None)).state.last_seq

    async def checkpoint(self, rows: Rows) -> int:
        stream = stream_name(self.region.region.name, rows.source)
        query = "select position from checkpoint where follower = $1 and stream = $2"
        return int(await (await self.database(rows.service)).fetchval(query, rows.follower, stream) or 0)

    async def close(self) -> None:
        for connection in self._connections.values():
            connection.terminate()
        if self._broker is not None:
            await self._broker.close()

    # What must be true of it afterwards

    async def level(self, within: float = 60.0) -> None:
        """Nothing is under way any more: streams at their heads, followers at their ends, deliveries done.

        What a killed sender had taken is left to it for a minute; that minute is made to pass once, while nobody sends.
        """
        await eventually(self._followed, within, AWAY)
        try:
            await eventually(self._delivered, 3, AWAY)
        except AssertionError:
            assert await asyncio.to_thread(self.region.stop, "notifications", "worker") == 0
            await (await self.database("notifications")).execute(
                "update delivery set due_at = now() where state in ('queued', 'failed')"
            )
            self.start("notifications", "worker")
        await eventually(self._rests, within, AWAY)

    async def _rests(self) -> None:
        await self._followed()
        await self._delivered()
        await self._followed()

    async def _delivered(self) -> None:
        query = "select count(*) from delivery where state in ('queued', 'failed')"
        assert await (await self.database("notifications")).fetchval(query) == 0

    async def _followed(self) -> None:
        heads = {service: await self.head(service) for service in SERVICES}
        assert {service: await self.tail(service) for service in SERVICES} == heads
        at = {stream_name(self.region.region.name, service): head for service, head in heads.items()}
        for service in SERVICES:
            for row in await (await self.database(service)).fetch("select * from checkpoint"):
                assert row["position"] == at[row["stream"]], dict(row)
        assert {service: await self.head(service) for service in SERVICES} == heads

    async def assert_sound(self, *crowds: Clients) -> None:
        """What was acknowledged is there exactly once, and everything that follows from it is level with it."""
        await self.level()
        logs = {service: await log_is_dense(await self.database(service)) for service in SERVICES}
        self._acknowledged_is_there_once(logs, crowds)
        broker = await self.broker()
        for service in SERVICES:
            await stream_is_the_log(broker, self.region.region.name, service, logs[service])
            assert await (await self.database(service)).fetchval("select count(*) from quarantine") == 0
        for rows in ROWS:
            source = EventLog(self.region.region.database(rows.source).service_url, rows.codec)
            await source.start()
            try:
                await rows_are_a_fresh_replays(await self.database(rows.service), rows, source)
            finally:
                await source.stop()
        self._told_once(logs)
        await self._reacted_once(logs)

    def _acknowledged_is_there_once(self, logs: dict[str, list[asyncpg.Record]], crowds: Sequence[Clients]) -> None:
        events = {service: {event["position"]: event for event in log} for service, log in logs.items()}
        asked: Counter[str] = Counter()
        open_: Counter[str] = Counter()
        for crowd in crowds:
            assert len({(one.ask.service, one.position) for one in crowd.acknowledged.values()}) == len(
                crowd.acknowledged
            )
            for one in crowd.acknowledged.values():
                event = events[one.ask.service][one.position]
                assert event["stream_id"] == one.id
                if kind := NEW.get(one.ask.path):
                    assert (event["type"], event["version"]) == (kind, 1)
                    asked[kind] += 1
            open_.update(NEW[ask.path] for ask in crowd.unanswered.values() if ask.path in NEW)
        recorded = Counter(event["type"] for log in logs.values() for event in log if not _caused(event))
        for kind in NEW.values():
            assert asked[kind] <= recorded[kind] <= asked[kind] + open_[kind], kind

    def _told_once(self, logs: dict[str, list[asyncpg.Record]]) -> None:
        """Each subscriber got each alert under one id: once, or again where a sender was killed as it sent."""
        codec = CODECS["notifications"]
        due: dict[UUID, set[str]] = {subscriber: set() for subscriber in self.subscribers}
        for event in logs["notifications"]:
            if event["type"] == "AlertRaised":
                raised = codec.decode(event["type"], event["schema_version"], event["data"])
                for recipient in raised.recipients:
                    due[recipient].add(str(delivery_id(event["stream_id"], recipient)))
        assert any(due.values())
        for subscriber, path in self.subscribers.items():
            told = Counter(posted.id for posted in self.sink.at(path))
            assert told.keys() == due[subscriber]
            assert self.sent_again or set(told.values()) <= {1}, told.most_common(3)
            alerts = Counter((posted.id, posted.json["data"]["alert_id"]) for posted in self.sink.at(path))
            assert len(alerts) == len(told)

    async def _reacted_once(self, logs: dict[str, list[asyncpg.Record]]) -> None:
        """Every event that another's command follows from was answered by one, and the ledger says so."""
        of = {
            kind: [event for log in logs.values() for event in log if event["type"] == kind]
            for kind in ("ProblemReported", "ForumHeld", "AlertRaised", "CommitmentMade", "SolutionProposed")
        }
        assert len(of["ForumHeld"]) == self.held
        watched = {event["id"] for event in of["ProblemReported"] if event["area"] == WATCHED}
        alerted = watched | {event["id"] for event in of["ForumHeld"]}
        raised = [event["stream_id"] for event in of["AlertRaised"] if _caused(event)]
        assert sorted(raised) == sorted(derive_id("alert", source) for source in alerted)
        assert len(of["CommitmentMade"]) == 3 * self.held
        assert len(of["SolutionProposed"]) == self.held
        ledgers = {"notifications": len(alerted), "forums": 3 * self.held, "reports": self.held}
        for service, lines in ledgers.items():
            rows = await (await self.database(service)).fetch("select * from reaction")
            assert Counter(row["outcome"] for row in rows) == Counter({"done": lines}), service
            assert len({(row["event_id"], row["command"]) for row in rows}) == len(rows)


def _caused(event: asyncpg.Record) -> bool:
    """Whether it is a reaction's, not a client's."""
    return '"causation_id"' in event["metadata"]


@pytest.fixture
async def town(own_postgres: Callable[[], Any], own_nats: Callable[[], Any], sink: Sink) -> AsyncIterator[Town]:
    """A town with two subscribers to one village and one to its district, every process running."""
    postgres, broker = await asyncio.gather(asyncio.to_thread(own_postgres), asyncio.to_thread(own_nats))
    told = {"REMBUK_WEBHOOK_PRIVATE": "allow", "REMBUK_DELIVERY_ATTEMPTS": "8", "REMBUK_DELIVERY_BACKOFF_S": "0.2"}
    region = RunningRegion(postgres.url, broker.url, SERVICES, told)
    town = Town(region, postgres, broker, sink)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, region.stop_all)
        stack.push_async_callback(town.close)
        await asyncio.to_thread(region.prepare)
        await asyncio.to_thread(region.start_all)
        for area in (WATCHED, WATCHED, DISTRICT):
            await town.subscribe(area)
        yield town
