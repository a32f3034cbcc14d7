"""Regions at the hub, with real servers: what they record is shown once and in order, each region's as its own."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from rembuk.broker.stream_names import stream_name
from rembuk.contracts.forums import Agreement, ForumHeld, MeetingScheduled
from rembuk.contracts.reports import ProblemClosed, ProblemRejected, ProblemReopened, ProblemVerified
from rembuk.events.event import Event
from rembuk.proof.merkle import Frontier, leaf_hash
from rembuk.proof.signed_note import TreeHead
from rembuk.testing.services import eventually

from tests.hub.conftest import Hub, reported


async def test_every_event_of_every_region_is_shown_once_and_in_order(hub: Hub) -> None:
    one, other = hub.admitted(), hub.admitted()
    problems = [reported() for _ in range(40)]
    told = [*problems]
    for problem, _ in problems[:30]:  # in any other order it would end as something else
        told += [(problem, ProblemVerified()), (problem, ProblemClosed()), (problem, ProblemReopened("x"))]
    told += [(problem, ProblemRejected("emergency", "110")) for problem, _ in problems[30:]]
    await hub.told(one, *told)
    await hub.told(other, *(reported("51.71.01.1001", "street_lighting") for _ in range(25)))
    hub.comes_to(one, "level", 140)
    hub.comes_to(other, "level", 25)
    assert (hub.events(one), hub.events(other)) == (140, 25)
    assert hub.get("/v1/counts", by="status", region=one) == [
        {"key": "rejected", "problems": 10, "open": 0, "name": None},
        {"key": "reopened", "problems": 30, "open": 30, "name": None},
    ]
    assert hub.get("/v1/counts", by="region", category="street_lighting") == [
        {"key": other, "problems": 25, "open": 25, "name": None}
    ]


async def test_an_id_means_something_within_its_region_alone(hub: Hub) -> None:
    one, other = hub.admitted(), hub.admitted()
    problem, event = reported()
    await hub.told(one, (problem, event))
    hub.comes_to(one, "level", 1)
    await hub.told(other, (problem, event), (problem, ProblemClosed()))
    hub.comes_to(other, "level", 2)
    [first] = hub.get("/v1/problems", region=one)["items"]
    [second] = hub.get("/v1/problems", region=other)["items"]
    assert (first["id"], first["status"], second["id"], second["status"]) == (
        str(problem), "reported", str(problem), "closed",
    )  # fmt: skip


async def test_what_forums_agree_is_counted_and_nothing_that_is_sealed_is_kept(hub: Hub) -> None:
    region, meeting, unheld, forum = hub.admitted(), uuid4(), uuid4(), uuid4()
    agreed = tuple(Agreement(uuid4(), "Pasang lampu", ("partnership",)) for _ in range(2))
    scheduled = MeetingScheduled(forum, "35.78.08", datetime.now(UTC), "Balai", ())
    held = ForumHeld(forum, "35.78.08", (), agreed, minutes="sealed:v1:secret")
    await hub.told(region, (meeting, scheduled), (unheld, scheduled), (meeting, held), service="forums")
    hub.comes_to(region, "level", 3, "forums")
    assert hub.get("/v1/deliberations", by="area", region=region) == [
        {"key": "35", "name": "Jawa Timur", "meetings": 2, "held": 1, "agreements": 2}
    ]
    rows = "select meeting::text from meeting union all select problem::text from problem"
    kept = str(await asyncio.to_thread(hub.service.ask, "hub", rows))
    assert str(meeting) in kept
    assert "sealed" not in kept
    assert "Motor" not in kept


async def test_a_revoked_region_ends_and_what_it_told_stays(hub: Hub) -> None:
    stays, goes = hub.admitted(), hub.admitted()
    await hub.told(goes, reported())
    hub.comes_to(goes, "level", 1)
    hub.federation.revoke(goes)

    def ended() -> None:
        region = hub.region(goes)
        assert region["revoked_at"] is not None
        assert {stream["state"] for stream in region["streams"]} == {"unwatched"}

    eventually(ended)
    await hub.told(goes, reported())
    await hub.told(stays, reported())
    hub.comes_to(stays, "level", 1)
    assert hub.events(goes) == 1
    assert hub.metric("rembuk_hub_lag_events", goes) is None


async def test_an_event_that_nobody_can_read_holds_up_its_own_aggregate_alone(hub: Hub) -> None:
    class ProblemExploded(Event, frozen=True):
        """Of a release that is not ours."""

    region, (problem, event), (other, other_event) = hub.admitted(), reported(), reported()
    await hub.told(region, (problem, event), (problem, ProblemExploded()), (problem, ProblemClosed()))
    await hub.told(region, (other, other_event), (other, ProblemClosed()))
    stream = hub.comes_to(region, "level", 5)
    assert stream["quarantined"] == 2
    items = hub.get("/v1/problems", region=region)["items"]
    assert {item["id"]: item["status"] for item in items} == {str(problem): "reported", str(other): "closed"}
    retry = hub.service.run("hub", "retry", "projection", stream_name(region, "reports"), str(problem))
    assert (retry.returncode, retry.stdout.split()) == (0, ["2"])


async def test_a_hub_whose_nats_lost_its_disk_is_filled_again_and_nothing_is_counted_twice(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, *(reported() for _ in range(20)))
    hub.comes_to(region, "level", 20)
    hub.federation.hub.kill()
    hub.federation.hub.lose_disk()
    hub.federation.hub.start()
    await hub.told(region, *(reported() for _ in range(5)))
    hub.comes_to(region, "level", 25)
    assert hub.events(region) == 25
    async with hub.federation.at_hub(region) as jetstream:
        assert (await jetstream.stream_info(stream_name(region, "reports"))).state.messages == 25


async def test_the_last_tree_head_that_the_hub_has_cosigned_is_shown(hub: Hub) -> None:
    region = hub.admitted(name="witnessed")
    await hub.told(region, reported())
    hub.comes_to(region, "level", 1)
    assert hub.stream(region)["cosigned"] is None
    frontier = Frontier()
    frontier.append(leaf_hash(b"an event"))
    note = hub.log.sign(TreeHead(hub.log.verifier.name, 1, frontier.root).text)
    answer = hub.api.post("/v1/witness/add-checkpoint", content=f"old 0\n\n{note}")
    assert answer.status_code == 200, answer.text
    assert hub.stream(region)["cosigned"]["size"] == 1
    forged = hub.log.sign(TreeHead(hub.log.verifier.name, 1, b"0" * 32).text)
    assert hub.api.post("/v1/witness/add-checkpoint", content=f"old 1\n\n{forged}").status_code == 409


async def test_problems_come_page_by_page_newest_first(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, *(reported() for _ in range(7)))
    hub.comes_to(region, "level", 7)
    items, cursor = [], None
    while True:
        page = hub.get("/v1/problems", region=region, limit=3, **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert [item["reported_at"] for item in items] == sorted((item["reported_at"] for item in items), reverse=True)
    assert len({item["id"] for item in items}) == 7


async def test_of_what_is_not_public_the_hub_tells_the_regency_and_counts_it_there(hub: Hub) -> None:
    region, village = hub.admitted(), "35.78.31.1003"
    secret = [reported(village, "noise", "commander"), reported(village, "domestic_violence"),
              reported(village, "perundungan", "neighbours")]  # fmt: skip
    known = reported(village, "noise")
    await hub.told(region, *secret, known, (secret[0][0], ProblemVerified()))
    hub.comes_to(region, "level", 5)
    items, cursor = [], None
    while True:
        page = hub.get("/v1/problems", region=region, limit=1, **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
        told = base64.urlsafe_b64decode(cursor + "==").decode()
        assert not any(str(problem) in told for problem, _ in secret)
    shown = [(one["id"], one["area"], one["category"], one["status"]) for one in items]
    withheld = (None, "35.78", None)
    assert sorted(shown, key=str) == sorted(
        [(str(known[0]), village, "noise", "reported"), (*withheld, "verified"), *[(*withheld, "reported")] * 2],
        key=str,
    )
    for filters in ({"area": village}, {"area": "35.78.31"}, {"category": "noise"}):
        found = hub.get("/v1/problems", region=region, **filters)["items"]
        assert [one["id"] for one in found] == [str(known[0])]
    assert hub.get("/v1/problems", region=region, category="domestic_violence")["items"] == []

    def counted(by: str, **filters: str) -> dict[str, int]:
        return {one["key"]: one["problems"] for one in hub.get("/v1/counts", by=by, region=region, **filters)}

    assert counted("area") == {"35": 4}
    assert counted("area", area="35") == {"35.78": 4}
    assert counted("area", area="35.78") == {"35.78": 3, "35.78.31": 1}
    assert counted("area", area="35.78.31") == {village: 1}
    assert counted("category") == counted("category", area="35.78") == {"noise": 1, "withheld": 3}
    assert counted("category", area=village) == {"noise": 1}
    assert counted("region", category="domestic_violence") == counted("status", category="domestic_violence") == {}
    assert hub.api.get("/v1/counts", params={"by": "region", "category": "withheld"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/v1/counts", "by"),
        ("/v1/counts?by=colour", "by"),
        ("/v1/counts?by=region&region=JATIM", "region"),
        ("/v1/problems?cursor=x", "cursor"),
        ("/v1/counts?by=area&area=99", "area"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_says_what_is_wrong(hub: Hub, path: str, rule: str) -> None:
    answer = hub.api.get(path)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["errors"][0]["field"] == rule


async def test_areas_are_counted_level_by_level_with_their_names(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported("35.78.08.1004"), reported("35.78.08.1001"), reported("35.79.01.1001"))
    hub.comes_to(region, "level", 3)

    def counted(**area: str) -> dict[str, tuple[str, int]]:
        return {
            one["key"]: (one["name"], one["problems"])
            for one in hub.get("/v1/counts", by="area", region=region, **area)
        }

    assert counted() == {"35": ("Jawa Timur", 3)}
    assert counted(area="35") == {"35.78": ("Kota Surabaya", 2), "35.79": ("Kota Batu", 1)}
    assert counted(area="35.78") == {"35.78.08": ("Gubeng", 2)}
