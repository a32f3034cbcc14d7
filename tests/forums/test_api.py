"""The HTTP face of forums, asked as a client would, with the real service behind it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rembuk.testing.services import PARTNER, RunningRegion, eventually

FORUM = {"area": "35.78.08.1004", "model": "wilayah", "name": "FKPM Airlangga", "hall": "Balai RW 3"}
MEMBER = {"pillar": "youth", "role": "member", "sex": "female", "name": "Sri Wahyuni"}
TOGETHER = [
    {"pillar": "police", "sex": "male", "count": 1, "officers": 1},
    {"pillar": "women", "sex": "female", "count": 6},
]


REPORT = {"area": FORUM["area"], "category": "street_lighting", "title": "Lampu jalan mati", "description": "Gelap."}


@pytest.fixture(scope="module")
def region(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region("reports", "forums")


@pytest.fixture(scope="module")
def forums(region: RunningRegion) -> httpx.Client:
    return httpx.Client(base_url=region.url("forums"), headers=PARTNER, timeout=10)


@pytest.fixture
def problem(region: RunningRegion, forums: httpx.Client) -> str:
    """A verified problem of which forums has heard."""
    with httpx.Client(base_url=region.url("reports"), headers=PARTNER, timeout=10) as reports:
        problem = str(reports.post("/v1/problems", json=REPORT).raise_for_status().json()["id"])
        verified = reports.post(f"/v1/problems/{problem}/verify", json={}).raise_for_status().json()
    at_least = {"at_least": verified["position"]}
    forums.get(f"/v1/forums/{founded(forums)}/agenda-candidates", params=at_least).raise_for_status()
    return problem


def founded(forums: httpx.Client, **other: Any) -> str:
    return str(forums.post("/v1/forums", json=FORUM | other).raise_for_status().json()["id"])


def joined(forums: httpx.Client, forum: str, **other: Any) -> dict[str, Any]:
    answer = forums.post(f"/v1/forums/{forum}/members", json=MEMBER | other)
    return dict(answer.raise_for_status().json())


def plan(forum: str, *agenda: str) -> dict[str, Any]:
    return {"forum_id": forum, "at": "2026-03-02T19:00:00+07:00", "place": "Balai RW 3", "agenda": agenda}


def scheduled(forums: httpx.Client, forum: str, *agenda: str) -> str:
    return str(forums.post("/v1/meetings", json=plan(forum, *agenda)).raise_for_status().json()["id"])


def test_a_forum_is_founded_and_can_be_read_at_its_position(forums: httpx.Client) -> None:
    answer = forums.post("/v1/forums", json=FORUM)
    accepted = answer.raise_for_status().json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/forums/{accepted['id']}"
    read = forums.get(answer.headers["location"], params={"at_least": accepted["position"]})
    assert read.headers["etag"] == answer.headers["etag"] == '"1"'
    assert FORUM.items() <= read.json().items()
    assert read.json()["members"] == 0


def test_of_many_who_join_at_once_each_is_a_member(forums: httpx.Client) -> None:
    forum = founded(forums)
    with ThreadPoolExecutor(20) as pool:
        versions = [answer["version"] for answer in pool.map(lambda _: joined(forums, forum), range(50))]
    assert sorted(versions) == list(range(2, 52))


def test_a_forum_needs_an_area_that_exists(forums: httpx.Client) -> None:
    answer = forums.post("/v1/forums", json=FORUM | {"area": "99.99"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unknown-area")
    assert answer.json()["errors"] == [{"field": "area", "rule": "unknown-area"}]


def test_a_retry_with_the_same_key_founds_nothing_new(forums: httpx.Client) -> None:
    first, again = (forums.post("/v1/forums", json=FORUM, headers={"Idempotency-Key": "f1"}) for _ in range(2))
    assert first.json() == again.json()
    other = forums.post("/v1/forums", json=FORUM | {"model": "adat"}, headers={"Idempotency-Key": "f1"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_expected_size_officer_and_representation_are_shown(forums: httpx.Client) -> None:
    forum = founded(forums)
    joined(forums, forum, role="chair")
    accepted = joined(forums, forum, sex="male", pillar="police", role="officer")
    shown = forums.get(f"/v1/forums/{forum}", params={"at_least": accepted["position"]}).json()
    assert (shown["members"], shown["expected_size"], shown["has_officer"]) == (2, False, True)
    for _ in range(8):
        accepted = joined(forums, forum)
    shown = forums.get(f"/v1/forums/{forum}", params={"at_least": accepted["position"]}).json()
    assert (shown["members"], shown["expected_size"], shown["version"]) == (10, True, 11)
    assert shown["representation"] == [
        {"pillar": "youth", "sex": "female", "members": 9},
        {"pillar": "police", "sex": "male", "members": 1},
    ]


def test_a_member_is_never_shown_by_name(forums: httpx.Client) -> None:
    forum = founded(forums)
    headers = {"Idempotency-Key": "m1"}
    first, again = (forums.post(f"/v1/forums/{forum}/members", json=MEMBER, headers=headers).json() for _ in range(2))
    assert first == again
    members = forums.get(f"/v1/forums/{forum}/members", params={"at_least": first["position"]})
    assert [member["id"] for member in members.json()] == [first["member_id"]]
    told = members.text + forums.get("/v1/events", params={"limit": 500}).text
    assert "sealed:v1:" in told
    assert "Wahyuni" not in told


def test_a_second_chair_is_refused_and_so_is_an_outdated_version(forums: httpx.Client) -> None:
    forum = founded(forums)
    joined(forums, forum, role="chair")
    second = forums.post(f"/v1/forums/{forum}/members", json=MEMBER | {"role": "chair"})
    assert (second.status_code, second.json()["type"]) == (409, "/problems/chair-taken")
    outdated = forums.post(f"/v1/forums/{forum}/members", json=MEMBER, headers={"If-Match": '"1"'})
    assert outdated.status_code == 412


@pytest.mark.parametrize("field", ["religion", "ethnicity"])
def test_religion_and_ethnicity_are_refused(forums: httpx.Client, field: str) -> None:
    answer = forums.post(f"/v1/forums/{founded(forums)}/members", json=MEMBER | {field: "x"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


def test_nobody_joins_or_reads_an_unknown_forum(forums: httpx.Client) -> None:
    for path in ("", "/members", "/agenda-candidates"):
        answer = forums.get(f"/v1/forums/{uuid4()}{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-forum")
    assert forums.post(f"/v1/forums/{uuid4()}/members", json=MEMBER).status_code == 404


def test_a_meeting_belongs_to_a_founded_forum(forums: httpx.Client) -> None:
    answer = forums.post("/v1/meetings", json=plan(str(uuid4())))
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unknown-forum")
    assert answer.json()["errors"] == [{"field": "forum_id", "rule": "unknown-forum"}]


def test_the_id_of_another_kind_of_thing_is_an_unknown_one(forums: httpx.Client) -> None:
    forum = founded(forums)
    meeting = scheduled(forums, forum)
    assert forums.post("/v1/meetings", json=plan(meeting)).status_code == 422
    assert forums.post(f"/v1/forums/{meeting}/members", json=MEMBER).json()["type"] == "/problems/unknown-forum"
    for path in (f"/v1/meetings/{forum}/hold", f"/v1/commitments/{forum}/keep"):
        answer = forums.post(path, json={})
        assert (answer.status_code, answer.json()["title"].split()[0]) == (404, "Unknown")


def test_a_meeting_names_its_time_zone_and_each_problem_once(forums: httpx.Client) -> None:
    forum, unknown = founded(forums), str(uuid4())
    naive = forums.post("/v1/meetings", json=plan(forum) | {"at": "2026-03-02T19:00:00"})
    assert (naive.status_code, naive.json()["errors"][0]["field"]) == (400, "at")
    twice = forums.post("/v1/meetings", json=plan(forum, unknown, unknown))
    assert (twice.status_code, twice.json()["errors"][0]["field"]) == (422, "agenda")
    many = forums.post("/v1/meetings", json=plan(forum, *(str(uuid4()) for _ in range(51))))
    assert (many.status_code, many.json()["errors"][0]["field"]) == (400, "agenda")


def test_a_held_meeting_shows_who_was_there_and_whether_that_was_a_quorum(forums: httpx.Client, problem: str) -> None:
    forum = founded(forums)
    for _ in range(10):
        joined(forums, forum)
    meeting = scheduled(forums, forum, problem)
    forums.post(f"/v1/meetings/{meeting}/attendance", json={"attendance": TOGETHER}).raise_for_status()
    agreement = {"problem_id": problem, "proposal": "Pasang lampu", "strategies": ["partnership"]}
    held = forums.post(f"/v1/meetings/{meeting}/hold", json={"agreements": [agreement], "minutes": "Notulen"})
    held.raise_for_status()
    last = [joined(forums, forum) for _ in range(5)][-1]  # who comes later does not take the quorum away
    answer = forums.get(f"/v1/meetings/{meeting}", params={"at_least": last["position"]})
    shown = answer.json()
    assert answer.headers["etag"] == held.headers["etag"] == '"3"'
    assert (shown["status"], shown["area"], shown["agenda"]) == ("held", FORUM["area"], [problem])
    assert (shown["present"], shown["officers"], shown["members"], shown["quorum"]) == (7, 1, 10, True)
    assert shown["agreements"][0]["proposal"] == "Pasang lampu"
    again = forums.post(f"/v1/meetings/{meeting}/hold", json={})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/already-held")


def test_promises_are_kept_or_missed_once(forums: httpx.Client) -> None:
    meeting = scheduled(forums, founded(forums))
    forums.post(f"/v1/meetings/{meeting}/attendance", json={"attendance": TOGETHER}).raise_for_status()
    promises = [{"who": who, "what": f"Ronda oleh {who}", "by": "2026-04-01"} for who in ("youth", "women")]
    forums.post(f"/v1/meetings/{meeting}/hold", json={"promises": promises}).raise_for_status()

    def made() -> dict[str, str]:
        found = forums.get("/v1/commitments", params={"meeting_id": meeting}).json()["items"]
        assert len(found) == 2
        return {commitment["who"]: commitment["id"] for commitment in found}

    ids = eventually(made)
    assert forums.post(f"/v1/commitments/{ids['women']}/miss", json={}).status_code == 400
    kept = forums.post(f"/v1/commitments/{ids['youth']}/keep", json={"note": "Selesai"}).raise_for_status()
    missed = forums.post(f"/v1/commitments/{ids['women']}/miss", json={"reason": "no_time"}).raise_for_status()
    assert forums.post(f"/v1/commitments/{ids['youth']}/keep", json={}).status_code == 409
    at_least = {"at_least": missed.json()["position"]}
    shown = forums.get(f"/v1/commitments/{ids['women']}", params=at_least)
    assert (shown.json()["status"], shown.json()["reason"]) == ("missed", "no_time")
    assert shown.headers["etag"] == kept.headers["etag"] == '"2"'
    kept_ones = forums.get("/v1/commitments", params={"meeting_id": meeting, "status": "kept"}).json()["items"]
    assert [commitment["id"] for commitment in kept_ones] == [ids["youth"]]


def test_lists_are_narrowed_by_area_and_paged_without_loss(forums: httpx.Client) -> None:
    accepted = [forums.post("/v1/forums", json=FORUM | {"area": "51.03.01.1001"}).json() for _ in range(5)]
    made = [one["id"] for one in accepted]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"area": "51.03", "limit": 2, "at_least": accepted[-1]["position"]}
        query |= {"cursor": cursor} if cursor else {}
        page = forums.get("/v1/forums", params=query).raise_for_status().json()
        seen += [forum["id"] for forum in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    assert forums.get("/v1/forums", params={"area": "51.0"}).status_code == 400
    assert forums.get("/v1/forums", params={"area": "51.99"}).status_code == 422
    assert forums.get("/v1/forums", params={"cursor": "!"}).status_code == 422
