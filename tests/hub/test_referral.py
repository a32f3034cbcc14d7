"""A problem goes from one region to another through the hub, with the real services and nats-servers of all three,
while the region that receives it is cut off, and while processes are killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from rembuk.testing.services import PARTNER, eventually

from tests.hub.conftest import Hub
from tests.hub.joined import PROBLEM, Joined

pytestmark = [pytest.mark.drills, pytest.mark.timeout(240)]

SECRET = "Tiga lampu padam di gang belakang pasar"
SOLVED: list[tuple[str, dict[str, Any]]] = [
    ("propose-solution", {"proposal": "Memasang lampu", "strategies": ["problem_solving"]}),
    (
        "apply-solution",
        {
            "done": "Lampu dipasang", "strategies": ["problem_solving"], "partners": ["officer", "residents"],
            "pillars": ["government"], "since": "2026-11-01", "until": "2026-11-07",
        },
    ),
    ("assess", {"as_planned": True, "effective": True, "before": 5, "after": 0}),
]  # fmt: skip


class Office(Joined):
    """A joined region, as those who work there see it."""

    @property
    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.running.url("reports"), headers=PARTNER, timeout=10)

    def verified(self) -> str:
        answer = self.http.post("/v1/problems", json=PROBLEM | {"description": SECRET}).raise_for_status()
        problem = str(answer.json()["id"])
        self.does(problem, "verify")
        return problem

    def does(self, problem: str, action: str, **body: Any) -> None:
        answer = self.http.post(f"/v1/problems/{problem}/{action}", json=body)
        assert answer.is_success, answer.text

    def sees(self, problem: str, status: str) -> dict[str, Any]:
        """The problem, once it stands so here."""

        def check() -> dict[str, Any]:
            answer = self.http.get(f"/v1/problems/{problem}")
            assert answer.is_success, answer.text
            shown: dict[str, Any] = answer.json()
            assert shown["status"] == status, shown
            return shown

        return eventually(check, 90)

    def history(self, problem: str) -> list[tuple[str, str]]:
        events = self.http.get(f"/v1/problems/{problem}/history").raise_for_status().json()
        return [(event["region"], event["type"]) for event in events]

    def knows(self, other: Office) -> None:
        def check() -> None:
            assert other.name in [one["name"] for one in self.http.get("/v1/regions").json()]

        eventually(check, 60)


@pytest.fixture(scope="module")
def offices(hub: Hub, postgres_url: str) -> Iterator[list[Office]]:
    two = [Office(hub, postgres_url) for _ in range(2)]
    for one, other in (two, reversed(two)):
        one.knows(other)
    yield two
    for one in two:
        one.end()


def test_a_problem_is_offered_when_the_region_is_back_and_both_show_one_history(offices: list[Office]) -> None:
    origin, receiver = offices
    problem = origin.verified()
    receiver.link.cut()
    origin.does(problem, "refer", to=receiver.name, note="hubungi ketua RT dulu")
    told = origin.sees(problem, "referred")
    assert origin.http.post(f"/v1/problems/{problem}/analyse", json={"root_cause": "Kabel"}).status_code == 409

    def waits() -> None:
        assert origin.hub.waiting(receiver.name) == 1

    eventually(waits, 60)
    assert receiver.http.get(f"/v1/problems/{problem}").status_code == 404
    receiver.link.heal()
    offered = receiver.sees(problem, "offered")
    assert (offered["description"], offered["reported_at"]) == (SECRET, told["reported_at"])
    receiver.does(problem, "accept-referral")
    origin.sees(problem, "handed_over")
    for action, body in SOLVED:
        receiver.does(problem, action, **body)
    receiver.sees(problem, "solved")

    here, there = origin.name, receiver.name
    ours = [(here, name) for name in ("ProblemReported", "ProblemVerified", "ProblemReferred")]
    theirs = [(there, name) for name in ("ReferralAccepted", "SolutionProposed", "SolutionApplied", "SolutionAssessed")]

    def one_history() -> None:
        assert sorted(origin.history(problem)) == sorted([*ours, (here, "ProblemHandedOver"), *theirs])
        assert sorted(receiver.history(problem)) == sorted([*ours, (there, "ReferralOffered"), *theirs])

    eventually(one_history)


async def test_each_problem_arrives_once_whoever_is_killed_meanwhile(offices: list[Office]) -> None:
    origin, receiver = offices
    problems = [await asyncio.to_thread(origin.verified) for _ in range(40)]
    for number, problem in enumerate(problems):
        await asyncio.to_thread(origin.does, problem, "refer", to=receiver.name)
        if number % 10 == 3:
            for region in offices:
                region.running.kill("reports", "worker")
                region.running.start("reports", "worker")
        elif number % 10 == 6:
            origin.hub.service.kill("hub", "worker")
            origin.hub.service.start("hub", "worker")
        elif number == 19:
            await asyncio.to_thread(origin.federation.hub.kill)
            await asyncio.to_thread(origin.federation.hub.start)
        elif number == 29:
            await asyncio.to_thread(receiver.nats.kill)
            await asyncio.to_thread(receiver.nats.start)
    for problem in problems:
        await asyncio.to_thread(receiver.sees, problem, "offered")
        await asyncio.to_thread(receiver.does, problem, "accept-referral")
    for problem in problems:
        await asyncio.to_thread(origin.sees, problem, "handed_over")
        history = await asyncio.to_thread(receiver.history, problem)
        assert len(history) == len(set(history)) == 5
    query = "select type, count(*) from log.event where type like 'Referral%' group by type"
    counted = dict(await receiver.asked(query))
    assert counted["ReferralOffered"] == counted["ReferralAccepted"] == 41
    assert await receiver.asked("select 1 from quarantine") == []


async def test_nothing_of_a_brief_is_in_clear_at_the_hub(offices: list[Office]) -> None:
    hub = offices[0].hub
    query = "select convert_from(data, 'UTF8') || headers from inbox"
    kept = [row[0] for row in await asyncio.to_thread(hub.service.ask, "hub", query)]
    assert len(kept) > 41
    assert not [one for one in kept if "lampu padam" in one or "ketua RT" in one]
