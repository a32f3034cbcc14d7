"""What is sealed in forums: members' names, minutes, notes on commitments; opened one by one, and erased."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rembuk.testing.services import PARTNER, RunningRegion, eventually

FORUM = {"area": "35.78.08.1004", "model": "wilayah", "name": "FKPM Airlangga"}
MEMBER = {"pillar": "youth", "role": "member", "sex": "female", "name": "Sri Wahyuni"}
CAME = [
    {"pillar": "police", "sex": "male", "count": 1, "officers": 1},
    {"pillar": "women", "sex": "female", "count": 6},
]
OPEN = {"fields": ["name"], "reason": "Undangan rapat", "by": "forum_chair:12"}


@pytest.fixture(scope="module")
def forums(start_region: Callable[..., RunningRegion]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=start_region("forums").url("forums"), headers=PARTNER, timeout=10) as client:
        yield client


def posted(forums: httpx.Client, path: str, body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = forums.post(path, json=body).raise_for_status().json()
    return answer


def events(forums: httpx.Client) -> str:
    return forums.get("/v1/events", params={"limit": 500}).text


def values(forums: httpx.Client, path: str, *fields: str) -> list[Any]:
    return [item["value"] for item in posted(forums, f"{path}/open", OPEN | {"fields": fields})["items"]]


def test_one_members_name_is_opened_and_erased_and_no_other(forums: httpx.Client) -> None:
    forum = posted(forums, "/v1/forums", FORUM)["id"]
    members = f"/v1/forums/{forum}/members"
    siti, budi = (
        f"{members}/{posted(forums, members, MEMBER | {'name': name})['member_id']}"
        for name in ("Siti Kenari", "Budi Elang")
    )
    assert values(forums, siti, "name") == ["Siti Kenari"]
    assert values(forums, budi, "name") == ["Budi Elang"]
    assert posted(forums, f"{siti}/erase", {})["persons"] == 1
    assert values(forums, siti, "name") == [None]
    assert values(forums, budi, "name") == ["Budi Elang"]
    told = events(forums)
    assert told.count("SealedDataOpened") >= 4
    assert "Kenari" not in told
    assert "Elang" not in told
    for path in (f"/v1/forums/{forum}/members/{uuid4()}", f"/v1/forums/{uuid4()}/members/{siti[-36:]}"):
        assert forums.post(f"{path}/open", json=OPEN).json()["type"] == "/problems/unknown-member"


def test_one_key_opens_each_member_with_a_record_of_its_own(forums: httpx.Client) -> None:
    members = f"/v1/forums/{posted(forums, '/v1/forums', FORUM)['id']}/members"
    paths = [f"{members}/{posted(forums, members, MEMBER | {'name': name})['member_id']}" for name in ("Satu", "Dua")]
    answers = [
        forums.post(f"{path}/open", json=OPEN, headers={"Idempotency-Key": "undangan"}).raise_for_status().json()
        for path in paths
    ]
    assert [answer["items"][0]["value"] for answer in answers] == ["Satu", "Dua"]
    for answer in answers:
        after = {"after": answer["position"] - 1, "limit": 1}
        [record] = forums.get("/v1/events", params=after).json()
        assert [one["event_id"] for one in record["data"]["opened"]] == [answer["items"][0]["event_id"]]


def test_minutes_and_notes_are_sealed_and_opened_with_a_reason(forums: httpx.Client) -> None:
    forum = posted(forums, "/v1/forums", FORUM)["id"]
    plan = {"forum_id": forum, "at": "2026-03-02T19:00:00+07:00", "place": "Balai"}
    meeting = f"/v1/meetings/{posted(forums, '/v1/meetings', plan)['id']}"
    posted(forums, f"{meeting}/attendance", {"attendance": CAME})
    promises = [{"who": "youth", "what": f"Ronda {n}", "by": "2026-04-01"} for n in range(2)]
    held = posted(forums, f"{meeting}/hold", {"promises": promises, "minutes": "Kata Bu Merpati: gelap."})
    shown = forums.get(meeting, params={"at_least": held["position"]}).raise_for_status()
    assert "minutes" not in shown.json()

    def made() -> list[str]:
        found = forums.get("/v1/commitments", params={"forum_id": forum}).json()["items"]
        assert len(found) == 2
        return [f"/v1/commitments/{one['id']}" for one in found]

    kept, missed = eventually(made)
    posted(forums, f"{kept}/keep", {"note": "Pak Rajawali ikut"})
    last = posted(forums, f"{missed}/miss", {"reason": "no_time", "note": "Pak Nuri sakit"})
    assert "note" not in forums.get(missed, params={"at_least": last["position"]}).json()
    told = events(forums)
    for secret in ("Merpati", "Rajawali", "Nuri"):
        assert secret not in told
    assert values(forums, meeting, "minutes") == ["Kata Bu Merpati: gelap."]
    assert values(forums, kept, "note") == ["Pak Rajawali ikut"]
    assert values(forums, missed, "note") == ["Pak Nuri sakit"]
    posted(forums, f"{meeting}/erase", {})
    assert values(forums, meeting, "minutes") == [None]
    assert values(forums, missed, "note") == ["Pak Nuri sakit"]
