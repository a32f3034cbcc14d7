"""Regions at the hub, with real servers: every event comes once and in order, and nobody is called level who is not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from nats.js.api import StreamConfig
from rembuk.contracts.forums import Agreement, ForumHeld, MeetingScheduled
from rembuk.contracts.reports import ProblemClosed, ProblemRejected, ProblemReopened, ProblemVerified
from rembuk.event import Event
from rembuk.merkle import Frontier, leaf_hash
from rembuk.signed_note import TreeHead
from rembuk.streams import stream_config, stream_name
from rembuk.testing.federation import publish
from rembuk.testing.services import eventually

from tests.hub.conftest import STALLED_S, Hub, reported


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


async def test_a_region_that_is_away_is_cut_off_and_level_again_when_it_is_back(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported(), reported())
    hub.comes_to(region, "level", 2)
    hub.federation.regions[region].kill()
    cut = hub.comes_to(region, "cut_off", 2)
    assert region in cut["error"]

    def silent() -> None:
        assert hub.stream(region)["behind_s"] > cut["behind_s"] + 2

    eventually(silent, 20)
    hub.federation.regions[region].start()
    await hub.told(region, *(reported() for _ in range(30)))
    back = hub.comes_to(region, "level", 32)
    assert (back["behind_events"], back["behind_s"], back["error"]) == (0, 0, "")
    assert hub.events(region) == 32


async def test_a_mirror_that_gets_nothing_from_a_region_that_answers_has_stalled(hub: Hub) -> None:
    """The nats-server calls it level: its lag is 0. How old the first event is that is missing, the region tells."""
    region = hub.admitted(deny_exports=["$JS.M.>"])
    await hub.told(region, reported(), reported(), at=datetime.now(UTC) - timedelta(hours=1))
    stalled = hub.comes_to(region, "stalled", 0)
    assert (stalled["behind_events"], stalled["region_position"]) == (2, 2)
    assert 3600 <= stalled["behind_s"] < 3700
    async with hub.federation.at_hub(region) as jetstream:
        mirror = (await jetstream.stream_info(stream_name(region, "reports"))).mirror
    assert mirror is not None
    assert mirror.lag == 0
    assert hub.metric("rembuk_hub_lag_events", region) == 2
    assert hub.metric("rembuk_hub_lag_seconds", region) >= 3600


async def test_where_the_age_of_what_is_missing_cannot_be_known_it_is_told_for_how_long_nothing_has_come(
    hub: Hub,
) -> None:
    region = "r" + uuid4().hex[:8]
    hub.admitted(region, deny_imports=[f"$JS.{region}.API.CONSUMER.>"])
    await hub.told(region, reported())
    stalled = hub.comes_to(region, "stalled", 0)
    assert stalled["behind_s"] >= STALLED_S
    assert hub.metric("rembuk_hub_lag_seconds", region) >= STALLED_S


async def test_a_region_that_rewrites_its_history_has_diverged_for_good(hub: Hub) -> None:
    region = hub.admitted()
    kept = [reported() for _ in range(3)]
    await hub.told(region, *kept)
    hub.comes_to(region, "level", 3)
    async with hub.federation.at_region(region) as jetstream:
        await jetstream.delete_stream(stream_name(region, "reports"))
        await jetstream.add_stream(stream_config(region, "reports"))
        await publish(jetstream, region, "reports", kept[0])
        assert hub.comes_to(region, "diverged", 3)["region_position"] == 1
        await publish(jetstream, region, "reports", reported(), reported(), reported(), reported())

    def found_out() -> None:
        stream = hub.stream(region)
        assert (stream["state"], stream["diverged_at"], stream["region_position"]) == ("diverged", 3, 5), stream

    eventually(found_out, 30)


async def test_a_history_that_is_rewritten_between_two_looks_is_found_out_too(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported(), reported())
    hub.comes_to(region, "level", 2)
    async with hub.federation.at_region(region) as jetstream:
        await jetstream.delete_stream(stream_name(region, "reports"))
        await jetstream.add_stream(stream_config(region, "reports"))
        await publish(jetstream, region, "reports", *(reported() for _ in range(4)))

    def found_out() -> None:
        stream = hub.stream(region)
        assert (stream["state"], stream["diverged_at"]) == ("diverged", 2), stream

    eventually(found_out, 30)


async def test_a_region_whose_stream_is_filled_again_with_the_same_is_level_again(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported(), reported())
    hub.comes_to(region, "level", 2)
    async with hub.federation.at_region(region) as jetstream:
        held = [await jetstream.get_msg(stream_name(region, "reports"), seq=n) for n in (1, 2)]
        await jetstream.delete_stream(stream_name(region, "reports"))
        await jetstream.add_stream(stream_config(region, "reports"))
        hub.comes_to(region, "diverged", 2)
        for message in held:
            await jetstream.publish(message.subject or "", message.data or b"", headers=message.headers)
        hub.comes_to(region, "level", 2)
        await publish(jetstream, region, "reports", reported())
    hub.comes_to(region, "level", 3)
    assert hub.events(region) == 3


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


async def test_a_worker_that_is_dead_leaves_nobody_level_and_goes_on_where_it_was(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, *(reported() for _ in range(10)))
    hub.comes_to(region, "level", 10)
    hub.service.kill("hub", "worker")
    await hub.told(region, *(reported() for _ in range(10)))

    def unwatched() -> None:
        assert hub.stream(region)["state"] == "unwatched"

    eventually(unwatched)
    assert hub.metric("rembuk_hub_looked_seconds", region) > 15
    hub.service.start("hub", "worker")
    hub.comes_to(region, "level", 20)
    assert hub.events(region) == 20
    assert hub.service.stop("hub", "worker") == 0
    hub.service.start("hub", "worker")


async def test_another_stream_in_the_place_of_a_mirror_is_left_as_it_is_and_said(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported())
    hub.comes_to(region, "level", 1)
    async with hub.federation.at_hub(region) as jetstream:
        stream = stream_name(region, "reports")
        await jetstream.delete_stream(stream)
        await jetstream.add_stream(StreamConfig(stream, subjects=["other.>"]))

        def said() -> None:
            now = hub.stream(region)
            assert now["state"] == "unwatched"
            assert "no mirror" in now["error"]

        eventually(said)
        assert (await jetstream.stream_info(stream)).config.subjects == ["other.>"]
        await jetstream.delete_stream(stream)
    hub.comes_to(region, "level", 1)


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
