"""Notifications beside forums, as real processes: a forum that met is told once to everybody of its area."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
from rembuk.testing.receivers import only
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import House

DISTRICT = "35.78.08"
TOGETHER = [
    {"pillar": "police", "sex": "male", "count": 1, "officers": 1},
    {"pillar": "residents", "sex": "female", "count": 7},
]


def test_a_forum_that_met_is_told_once_to_everybody_of_its_area(start_house: Callable[..., House]) -> None:
    house = start_house("forums", "notifications")
    above = house.confirmed(f"{house.sink.url}/province", area="35", language="en")
    house.confirmed(f"{house.sink.url}/village", area="35.78.08.1004")
    house.confirmed("district@example.org", area=DISTRICT, categories=["theft"])
    meeting = _held(house, "35.78.09")
    elsewhere = house.alert_about(meeting)
    assert elsewhere["recipients"] == 1

    alert = house.alert_about(_held(house, DISTRICT))
    assert (alert["recipients"], alert["source_type"]) == (2, "ForumHeld")

    def told() -> None:
        assert house.deliveries(alert)["states"] == {"sent": 2}

    eventually(told)
    said = above.verified(house.sink.at("/province")[1])
    assert said["data"]["headline"] == "Partnership forum met: Gubeng, Kota Surabaya, Jawa Timur"
    mail = only(house.mailbox.to("district@example.org")[1:])
    assert mail["Subject"] == "Forum kemitraan bermusyawarah: Gubeng, Kota Surabaya, Jawa Timur"
    assert house.sink.at("/village") == []


def _held(house: House, area: str) -> str:
    """Found a forum and have it meet; the meeting's id."""
    forums = httpx.Client(base_url=house.region.url("forums"), timeout=10)
    forum = forums.post("/v1/forums", json={"area": area, "model": "wilayah", "name": "FKPM"}).raise_for_status()
    plan = {"forum_id": forum.json()["id"], "at": "2026-03-02T19:00:00+07:00", "place": "Balai", "agenda": []}
    meeting: str = forums.post("/v1/meetings", json=plan).raise_for_status().json()["id"]
    for action, wish in (("attendance", {"attendance": TOGETHER}), ("hold", {})):
        forums.post(f"/v1/meetings/{meeting}/{action}", json=wish).raise_for_status()
    return meeting
