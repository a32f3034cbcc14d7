"""Reports and forums together, as real processes: a problem goes to a forum and comes back with a solution."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from rembuk.contracts.reports import (
    CODEC,
    ProblemEvent,
    ProblemHandedOver,
    ProblemReferred,
    ReferralAccepted,
    ReferralDeclined,
    ReferralOffered,
    ReferralReturned,
    ReferralWithdrawn,
)
from rembuk.events.event import Metadata
from rembuk.log.event_log import EventLog
from rembuk.testing.services import PARTNER, RunningRegion, eventually

VILLAGE, DISTRICT = "35.78.08.1004", "35.78.08"
TOGETHER = [
    {"pillar": "police", "sex": "male", "count": 1, "officers": 1},
    {"pillar": "residents", "sex": "female", "count": 7},
]
SOLVED: dict[str, dict[str, Any]] = {
    "propose-solution": {"proposal": "Pasang lampu", "strategies": ["partnership"]},
    "apply-solution": {
        "done": "Lampu dipasang", "strategies": ["partnership"], "partners": ["residents"],
        "since": "2026-03-01", "until": "2026-03-02",
    },
}  # fmt: skip
AGREED = {"proposal": "Pasang lampu bersama", "strategies": ["partnership"], "root_cause": "Gang gelap"}


class Story:
    """What a village officer and a forum's chair do with the two services of one region."""

    def __init__(self, region: RunningRegion) -> None:
        self.region = region
        self.reports = httpx.Client(base_url=region.url("reports"), headers=PARTNER, timeout=10)
        self.forums = httpx.Client(base_url=region.url("forums"), headers=PARTNER, timeout=10)

    def reported(self, **other: Any) -> dict[str, Any]:
        report = {
            "area": VILLAGE,
            "category": "street_lighting",
            "title": "Lampu jalan mati",
            "description": "Gang gelap sejak sebulan.",
            "reporter": {"name": "Budi Santoso", "phone": "+62 812 3456 789"},
        }
        return dict(self.reports.post("/v1/problems", json=report | other).raise_for_status().json())

    def verified(self, **other: Any) -> str:
        return self.verify(self.reported(**other)["id"])

    def verify(self, problem: str) -> str:
        return self.of_problem(problem, "verify", {})

    def of_problem(self, problem: str, action: str, body: dict[str, Any]) -> str:
        self.reports.post(f"/v1/problems/{problem}/{action}", json=body).raise_for_status()
        return problem

    def founded(self, area: str = DISTRICT) -> str:
        forum = {"area": area, "model": "wilayah", "name": "FKPM Gubeng"}
        return str(self.forums.post("/v1/forums", json=forum).raise_for_status().json()["id"])

    def scheduled(self, forum: str, agenda: list[str], key: str = "") -> httpx.Response:
        plan = {"forum_id": forum, "at": "2026-03-02T19:00:00+07:00", "place": "Balai", "agenda": agenda}
        return self.forums.post("/v1/meetings", json=plan, headers={"Idempotency-Key": key or str(uuid4())})

    def held(self, forum: str, agenda: list[str], **outcome: Any) -> str:
        meeting = str(self.scheduled(forum, agenda).raise_for_status().json()["id"])
        path = f"/v1/meetings/{meeting}"
        self.forums.post(f"{path}/attendance", json={"attendance": TOGETHER}).raise_for_status()
        self.forums.post(f"{path}/hold", json=outcome).raise_for_status()
        return meeting

    def candidates(self, forum: str) -> dict[str, dict[str, Any]]:
        """By id, as they are once everything in the log of reports has arrived."""
        position = self.reports.get("/v1/events", params={"limit": 500}).json()[-1]["position"]
        answer = self.forums.get(f"/v1/forums/{forum}/agenda-candidates", params={"at_least": position, "limit": 200})
        return {candidate["id"]: candidate for candidate in answer.raise_for_status().json()["items"]}

    def made(self) -> list[dict[str, Any]]:
        """Every CommitmentMade in the log of forums."""
        events = self.forums.get("/v1/events", params={"limit": 500}).json()
        return [event for event in events if event["type"] == "CommitmentMade"]


@pytest.fixture(scope="module")
def story(start_region: Callable[..., RunningRegion]) -> Story:
    return Story(start_region("reports", "forums"))


def test_a_verified_problem_becomes_an_agenda_candidate_without_its_reporter(story: Story) -> None:
    forum = story.founded()
    problem = story.reported()["id"]
    assert problem not in story.candidates(forum)
    story.verify(problem)
    candidate = story.candidates(forum)[problem]
    assert (candidate["title"], candidate["area"], candidate["status"]) == ("Lampu jalan mati", VILLAGE, "verified")
    assert not any("report" in field for field in candidate if field != "reported_at")
    assert "Budi" not in str(candidate)
    assert "sealed:" not in str(candidate)


def test_a_forum_does_not_see_what_is_not_for_it(story: Story) -> None:
    forum = story.founded()
    hidden = [
        story.verified(disclosure="officer"),
        story.verified(disclosure="commander"),
        story.verified(category="domestic_violence"),
        story.verified(area="35.78.09.1001"),
    ]
    shown = story.verified(disclosure="forum")
    candidates = story.candidates(forum)
    assert shown in candidates
    assert not candidates.keys() & set(hidden)
    for problem in hidden:
        refused = story.scheduled(forum, [shown, problem])
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/not-a-candidate")
        assert refused.json()["errors"][0]["field"] == "agenda[1]"


def test_what_is_for_forums_alone_is_shown_to_the_bearer_of_a_token_that_reads_it_in_the_events(story: Story) -> None:
    forum, public, secret = story.founded(), story.verified(), story.verified(disclosure="forum")
    assert {public, secret} <= story.candidates(forum).keys()
    agreed = [{"problem_id": problem, **AGREED} for problem in (public, secret)]
    meeting = story.held(forum, [public, secret], agreements=agreed[1:], deferred=[public])
    with httpx.Client(base_url=story.forums.base_url) as anybody:
        for asking, problems in ((story.forums, [public, secret]), (anybody, [public])):
            position = story.forums.get("/v1/events", params={"limit": 500}).json()[-1]["position"]
            shown = asking.get(f"/v1/meetings/{meeting}", params={"at_least": position}).json()
            listed = asking.get("/v1/meetings", params={"forum_id": forum}).json()["items"]
            assert listed == [shown]
            assert (shown["agenda"], shown["deferred"], shown["status"]) == (problems, [public], "held")
            assert [one["problem_id"] for one in shown["agreements"]] == problems[1:]
            candidates = asking.get(f"/v1/forums/{forum}/agenda-candidates", params={"limit": 200}).json()["items"]
            assert {public, secret} & {one["id"] for one in candidates} == set(problems)
        wrong = {"Authorization": "Bearer rembuk_nobody"}
        for path in (f"/v1/meetings/{meeting}", "/v1/meetings", f"/v1/forums/{forum}/agenda-candidates"):
            assert anybody.get(path, headers=wrong).status_code == 401
            proxys = {"Authorization": "Basic d2FyZ2E6cmFoYXNpYQ=="}
            assert anybody.get(path, headers=proxys).json() == anybody.get(path).json()


def test_a_meeting_scheduled_once_is_answered_alike_though_its_problem_was_solved_since(story: Story) -> None:
    forum, problem = story.founded(), story.verified()
    assert problem in story.candidates(forum)
    first = story.scheduled(forum, [problem], "s1")
    for action, body in SOLVED.items():
        story.of_problem(problem, action, body)
    assert problem not in story.candidates(forum)
    again = story.scheduled(forum, [problem], "s1")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert story.scheduled(forum, [problem]).status_code == 422


def test_what_becomes_known_only_later_does_not_bring_a_hidden_problem_to_light(story: Story) -> None:
    forum = story.founded()
    problem = story.verified(disclosure="commander")
    story.of_problem(problem, "prioritise", {"impact": 5, "urgency": 5, "reach": 5})
    assert problem not in story.candidates(forum)


def test_a_candidate_is_one_while_it_is_open(story: Story) -> None:
    forum = story.founded()
    problem = story.verified()
    story.of_problem(problem, "prioritise", {"impact": 5, "urgency": 5, "reach": 5})
    assert story.candidates(forum)[problem]["priority"] == "critical"
    rejected = story.reported()["id"]
    story.of_problem(rejected, "reject", {"code": "not_a_problem", "reason": "Lampu sudah menyala"})
    assert rejected not in story.candidates(forum)
    story.of_problem(rejected, "reopen", {"reason": "Mati lagi"})
    assert story.candidates(forum)[rejected]["status"] == "reopened"


def test_a_problem_is_a_candidate_in_the_region_that_it_lives_in(story: Story) -> None:
    forum, problem = story.founded(), uuid4()
    at = datetime(2026, 3, 2, tzinfo=UTC)
    offered = ReferralOffered("jateng", VILLAGE, "noise", "Bising", "", "public", at)
    referred = ProblemReferred("jatim", "bali", VILLAGE, "noise", "public", at, "hpke:v1:x")
    steps: list[tuple[ProblemEvent, bool]] = [
        (offered, False),
        (ReferralDeclined("jateng", "jatim", "no_capacity"), False),
        (offered, False),
        (ReferralAccepted("jateng", "jatim"), True),
        (referred, False),
        (ReferralWithdrawn("jatim", "bali"), True),
        (referred, False),
        (ReferralReturned("bali", "other"), True),
        (ProblemHandedOver("bali"), False),
    ]
    for version, (event, candidate) in enumerate(steps):
        asyncio.run(_recorded(story.region, problem, version, event))
        assert (str(problem) in story.candidates(forum)) is candidate, event


def test_what_a_forum_agrees_on_becomes_a_proposed_solution(story: Story) -> None:
    forum = story.founded()
    lights, noise = story.verified(), story.verified(category="noise", title="Bising")
    assert {lights, noise} <= story.candidates(forum).keys()
    meeting = story.held(forum, [lights, noise], agreements=[{"problem_id": lights, **AGREED}], deferred=[noise])

    def proposed() -> None:
        problem = story.reports.get(f"/v1/problems/{lights}").json()
        assert (problem["status"], problem["proposal"]) == ("solution_proposed", "Pasang lampu bersama")
        assert problem["root_cause"] == "Gang gelap"

    eventually(proposed)
    proposal = story.reports.get(f"/v1/problems/{lights}/history").json()[-1]
    assert (proposal["type"], proposal["data"]["meeting_id"]) == ("SolutionProposed", meeting)
    assert proposal["data"]["forum_id"] == forum
    assert story.reports.get(f"/v1/problems/{noise}").json()["status"] == "verified"
    assert story.candidates(forum)[lights]["status"] == "solution_proposed"


def test_promises_become_commitments_exactly_once(story: Story) -> None:
    """Though the worker is killed in between, and everything is reacted to again from the beginning."""
    forum = story.founded()
    story.region.kill("forums", "worker")
    before = len(story.made())
    promises = [{"who": "residents", "what": "Ronda malam", "by": "2026-04-01"}] * 3
    meeting = story.held(forum, [], promises=promises)
    assert len(story.made()) == before
    story.region.start("forums", "worker")

    def three() -> list[dict[str, Any]]:
        made = [event for event in story.made() if event["data"]["meeting_id"] == meeting]
        assert len(made) == 3
        return made

    assert len({event["subject"] for event in eventually(three)}) == 3
    story.region.kill("forums", "worker")
    asyncio.run(_forget_reactions(story.region))
    story.region.start("forums", "worker")
    again = story.held(forum, [], promises=promises[:1])

    def shown() -> None:
        found = story.forums.get("/v1/commitments", params={"forum_id": forum}).json()["items"]
        assert {UUID(commitment["meeting_id"]) for commitment in found} == {UUID(meeting), UUID(again)}
        assert len(found) == 4

    eventually(shown)
    assert len(story.made()) == before + 4


async def _forget_reactions(region: RunningRegion) -> None:
    """Lose checkpoint and ledger of the reaction: what is left is that the log knows each command's events."""
    connection = await asyncpg.connect(region.region.database("forums").service_url)
    try:
        await connection.execute("update checkpoint set position = 0 where follower = 'commitments'")
        await connection.execute("delete from reaction")
    finally:
        await connection.close()


async def _recorded(region: RunningRegion, problem: UUID, version: int, event: ProblemEvent) -> None:
    log = EventLog(region.region.database("reports").service_url, CODEC)
    await log.start()
    try:
        await log.append(problem, version, [uuid4()], [event], VILLAGE, Metadata())
    finally:
        await log.stop()
