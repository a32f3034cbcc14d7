"""Servers that are away or hang: what a region answers meanwhile, and that it is level again by itself afterwards."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.load import Clients
from rembuk.testing.services import PARTNER
from rembuk.testing.tallies import eventually

if TYPE_CHECKING:
    from conftest import Town

pytestmark = pytest.mark.drills

REPORT = {"area": "35.05.01", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
REPORTER = {"name": "Budi Santoso", "phone": "+62 812 3456 789"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
READS = {
    "reports": ["/v1/problems", f"/v1/problems/{UNKNOWN}", f"/v1/problems/{UNKNOWN}/history", "/v1/events"],
    "forums": ["/v1/forums", "/v1/commitments", f"/v1/forums/{UNKNOWN}"],
    "notifications": ["/v1/alerts", f"/v1/subscriptions/{UNKNOWN}"],
}
WRITES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "reports": [("/v1/problems", REPORT), ("/v1/problems", REPORT | {"reporter": REPORTER}),
                (f"/v1/problems/{UNKNOWN}/verify", {})],
    "forums": [("/v1/forums", {"area": "35.78.08", "model": "wilayah", "name": "FKPM"})],
    "notifications": [
        ("/v1/subscriptions", {"area": "35.05", "channel": "webhook", "contact": ""}),
        ("/v1/alerts", {"area": "35.05", "headline": {"id": "Awas"}, "text": {"id": "Hati-hati."}}),
    ],
}  # fmt: skip
HANGS_AT_MOST_S = 30.0


def writes(town: Town, service: str) -> list[tuple[str, dict[str, Any]]]:
    """Paths and bodies of what can be asked of a service; each webhook, one of its own, is told of nothing but its
    code, which otherwise would wait for the codes before it."""
    contact = {"contact": f"{town.sink.url}/{uuid4()}"}
    return [(path, {**body, **contact} if "contact" in body else body) for path, body in WRITES[service]]


async def ask_everything(town: Town, http: httpx.AsyncClient) -> list[tuple[httpx.Response, float]]:
    """Every kind of request that needs PostgreSQL, several of each at once; answers and how long they took."""

    async def one(method: str, url: str, body: object = None) -> tuple[httpx.Response, float]:
        begun = time.monotonic()
        answer = await http.request(method, url, json=body, headers=PARTNER)
        return answer, time.monotonic() - begun

    asked = []
    for service in SERVICES:
        url = town.region.url(service)
        asked += [one("GET", url + path) for path in ("/health/ready", *READS[service]) for _ in range(6)]
        asked += [one("POST", url + path, body) for _ in range(20) for path, body in writes(town, service)]
    return await asyncio.gather(*asked)


def all_unavailable(answers: list[tuple[httpx.Response, float]]) -> None:
    """503 with Retry-After and problem details, each within bounds."""
    for answer, took in answers:
        what = f"{answer.request.method} {answer.request.url} {answer.text}"
        assert answer.status_code == 503, what
        assert int(answer.headers["Retry-After"]) > 0, what
        assert answer.headers["content-type"] == "application/problem+json", what
        assert took < HANGS_AT_MOST_S, f"{took:.1f} s: {what}"


async def all_live(town: Town, http: httpx.AsyncClient) -> None:
    for service in SERVICES:
        assert (await http.get(f"{town.region.url(service)}/health/live")).status_code == 200


async def test_reports_are_accepted_while_nats_is_down_and_all_is_level_when_it_is_back(town: Town) -> None:
    async with town.clients(at_most=400) as clients, httpx.AsyncClient(timeout=30) as http:
        problem = await town.candidate(clients)
        await asyncio.to_thread(town.nats.kill)
        await clients.more(400)
        for service in SERVICES:
            assert (await http.get(f"{town.region.url(service)}/health/ready")).status_code == 200
        await town.meet(clients, problem)
    assert len(clients.acknowledged) >= 400
    assert set(clients.answers) == {200, 201}
    assert not clients.broken
    heads = {service: await town.head(service) for service in SERVICES}
    await asyncio.to_thread(town.nats.start)
    await town.assert_sound(clients)
    assert heads["reports"] <= await town.tail("reports")


async def test_workers_and_apis_start_while_nats_is_down(town: Town) -> None:
    await asyncio.to_thread(town.nats.kill)
    for service in SERVICES:
        for process in ("api", "worker"):
            assert await asyncio.to_thread(town.region.stop, service, process) == 0
            town.start(service, process)
    await town.ready()
    async with town.clients(at_most=100) as clients:
        await clients.more(100)
    await asyncio.to_thread(town.nats.start)
    await town.assert_sound(clients)


async def test_while_postgres_is_down_the_answer_is_503_and_nothing_is_half_done(town: Town) -> None:
    heads = {service: await town.head(service) for service in SERVICES}
    await town.kill_postgres()
    async with httpx.AsyncClient(timeout=60) as http:
        all_unavailable(await ask_everything(town, http))
        await all_live(town, http)
        await town.start_postgres()
        assert {service: await town.head(service) for service in SERVICES} == heads
        await accepts_again(town, http, within=10)
    async with town.clients(at_most=60) as clients:
        await clients.more(60)
        await town.meet(clients, await town.candidate(clients))
    await town.level()


async def accepts_again(town: Town, http: httpx.AsyncClient, within: float) -> None:
    """Every service answers reads and writes by itself, within so many seconds."""

    async def accepted() -> None:
        for service in SERVICES:
            url = town.region.url(service)
            path, body = writes(town, service)[0]
            for path_read in ("/health/ready", READS[service][0]):
                assert (await http.get(url + path_read)).status_code == 200
            assert (await http.post(url + path, json=body)).is_success

    await eventually(accepted, within, (AssertionError, httpx.TransportError))


async def test_a_postgres_that_hangs_makes_no_request_hang_and_does_nothing_twice(town: Town) -> None:
    async with town.clients() as before:
        await before.more(100)
    keys = [str(uuid4()) for _ in range(10)]
    thaw = town.freeze_postgres()
    async with httpx.AsyncClient(timeout=60) as http:
        url = f"{town.region.url('reports')}/v1/problems"
        try:
            async with asyncio.TaskGroup() as tasks:
                everything = tasks.create_task(ask_everything(town, http))
                keyed = [
                    tasks.create_task(http.post(url, json=REPORT, headers={"Idempotency-Key": key})) for key in keys
                ]
                tasks.create_task(all_live(town, http))
            all_unavailable(everything.result())
            assert {answer.result().status_code for answer in keyed} == {503}
        finally:
            thaw()
        await accepts_again(town, http, within=15)
        again = [
            (await http.post(url, json=REPORT, headers={"Idempotency-Key": key})).raise_for_status() for key in keys
        ]
    problems = {UUID(answer.json()["id"]) for answer in again}
    assert len(problems) == len(keys)
    query = "select stream_id, count(*) from log.event where stream_id = any($1) group by stream_id"
    rows = await (await town.database("reports")).fetch(query, list(problems))
    assert {row["stream_id"]: row["count"] for row in rows} == dict.fromkeys(problems, 1)
    await town.level()


async def test_sigterm_finishes_every_request_that_an_api_has_accepted(town: Town) -> None:
    """What a client got no answer to is not in the log; what is in the log was answered, though SIGTERM came."""
    crowds: list[Clients] = []
    for _ in range(3):
        async with town.clients(clients=30, at_most=600, once=True) as clients:
            await clients.more(60)
            assert await asyncio.to_thread(town.region.stop, "reports", "api") == 0
        crowds.append(clients)
        town.start("reports", "api")
        await town.ready()
    log = await (await town.database("reports")).fetch("select stream_id, id from log.event where version = 1")
    recorded = {row["stream_id"] for row in log}
    answered = {one.id for crowd in crowds for one in crowd.acknowledged.values() if one.ask.path == "/v1/problems"}
    assert answered == recorded
    assert all(crowd.unanswered for crowd in crowds)
    assert sum((crowd.answers for crowd in crowds), Counter()).keys() <= {200, 201}
    await town.assert_sound(*crowds)


async def test_sigterm_lets_workers_finish_the_batch_in_hand(town: Town) -> None:
    async with town.clients() as clients:
        meeting = asyncio.create_task(town.meet(clients, await town.candidate(clients)))
        for service in SERVICES:
            await clients.more(150)
            assert await asyncio.to_thread(town.region.stop, service, "worker") == 0
            town.start(service, "worker")
        await meeting
    await town.assert_sound(clients)


async def test_a_worker_of_which_a_part_fails_says_so_by_its_exit_code(town: Town) -> None:
    forums = await town.database("forums")
    assert await asyncio.to_thread(town.region.stop, "forums", "worker") == 0
    await forums.execute("alter table checkpoint rename to mislaid")
    worker = town.region.region.spawn("forums", "worker")
    try:
        assert await asyncio.to_thread(worker.wait, 30) == 1
    finally:
        worker.kill()
    await forums.execute("alter table mislaid rename to checkpoint")


@pytest.mark.parametrize("away", ["postgres", "nats", "a hung postgres"])
async def test_sigterm_ends_processes_whose_servers_are_away(town: Town, away: str) -> None:
    async with town.clients(at_most=100) as clients:
        await clients.more(100)
    thaw = None
    match away:
        case "postgres":
            await town.kill_postgres()
        case "nats":
            await asyncio.to_thread(town.nats.kill)
        case _:
            thaw = town.freeze_postgres()
    try:
        begun = time.monotonic()
        for child in town.region.processes.values():
            child.send_signal(signal.SIGTERM)
        for key, child in town.region.processes.items():
            assert await asyncio.to_thread(child.wait, HANGS_AT_MOST_S) == 0, key
        assert time.monotonic() - begun < HANGS_AT_MOST_S
    finally:
        if thaw is not None:
            thaw()
        for child in town.region.processes.values():
            child.kill()
        town.region.processes.clear()
