"""What one region says to another, with real servers: it comes to that one's inbox once and in order, whoever is away
or killed meanwhile, and nothing comes there that a region has no right to say."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from nats.errors import NoRespondersError, TimeoutError
from rembuk.broker.connecting import connect
from rembuk.broker.stream_names import inbox_name, stream_name
from rembuk.contracts.reports import (
    ProblemClosed,
    ProblemReferred,
    ProblemVerified,
    ReferralAccepted,
    ReferralDeclined,
    ReferralWithdrawn,
    RegionIntroduced,
)
from rembuk.events.event import Event
from rembuk.federation.hub_regions import ADDRESSED, INBOX, REGIONS, STANDING
from rembuk.federation.inbox import Inbox, inbox_config
from rembuk.testing.federation import connected, publish
from rembuk.testing.services import eventually

from tests.hub.conftest import Hub, reported

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
Fact = tuple[UUID, Event]


def referred(origin: str, to: str, problem: UUID | None = None) -> Fact:
    return problem or uuid4(), ProblemReferred(origin, to, "35.78.08.1004", "theft", "public", NOW, "hpke:v1:x")


async def inbox(hub: Hub, region: str, within: float = 20) -> list[dict[str, str]]:
    """The headers of what is in a region's own stream, fetched through its own link until no more comes."""
    client = await connect(hub.federation.regions[region].url, "test", inbox=INBOX)
    fetcher, deadline = Inbox("", region), asyncio.get_running_loop().time() + within
    while True:
        try:
            if not await fetcher.fetch(client):
                break
        except (NoRespondersError, TimeoutError):  # linked again, but not heard yet
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.2)
    jetstream, name = client.jetstream(), inbox_name(region)
    last = (await jetstream.stream_info(name)).state.last_seq
    found = [(await jetstream.get_msg(name, seq=n)).headers or {} for n in range(1, last + 1)]
    await client.close()
    return found


def forwarded(hub: Hub, region: str, position: int) -> None:
    """Wait until the hub has read a region's reports up to there for the others."""

    def check() -> None:
        query = "select position from checkpoint where follower = 'forwarding' and stream = $1"
        assert [row[0] for row in hub.service.ask("hub", query, stream_name(region, "reports"))] == [position]

    eventually(check, 60)


async def told(hub: Hub, region: str, *facts: Fact) -> None:
    await forwarded_async(hub, region, await hub.told(region, *facts))


async def forwarded_async(hub: Hub, region: str, position: int) -> None:
    await asyncio.to_thread(forwarded, hub, region, position)


async def asked(hub: Hub, query: str, *arguments: Any) -> list[Any]:
    """The first column of what the hub's database answers."""
    return [row[0] for row in await asyncio.to_thread(hub.service.ask, "hub", query, *arguments)]


def said(letters: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(one["ce-subject"], one["ce-type"]) for one in letters]


async def test_what_is_addressed_to_a_region_comes_to_its_inbox_in_order_and_nothing_else(hub: Hub) -> None:
    origin, receiver, third = await hub.begun(3)
    facts = [referred(origin, receiver) for _ in range(60)]
    between: list[Fact] = [(facts[0][0], ReferralWithdrawn(origin, receiver)), referred(origin, third)]
    await told(hub, origin, reported(), *facts, reported(), *between)
    letters = await inbox(hub, receiver)
    withdrawn = (str(facts[0][0]), "ReferralWithdrawn")
    assert said(letters) == [*((str(problem), "ProblemReferred") for problem, _ in facts), withdrawn]
    assert {one["ce-region"] for one in letters} == {origin}
    assert [int(one["ce-position"]) for one in letters] == [*range(2, 62), 63]
    assert len(await inbox(hub, third)) == 1
    assert await inbox(hub, origin) == []


async def test_an_answer_comes_back_and_after_an_acceptance_how_it_goes_on(hub: Hub) -> None:
    origin, receiver = await hub.begun(2)
    taken, left = referred(origin, receiver), referred(origin, receiver)
    await told(hub, origin, taken, left)
    await told(
        hub, receiver,
        (taken[0], ProblemVerified()), (taken[0], ReferralAccepted(origin, receiver)), (taken[0], ProblemClosed()),
        (left[0], ReferralDeclined(origin, receiver, "no_capacity")), (left[0], ProblemClosed()),
        (uuid4(), ProblemClosed()),
    )  # fmt: skip
    await told(hub, receiver, (taken[0], ProblemVerified()))
    assert said(await inbox(hub, origin)) == [
        (str(taken[0]), "ReferralAccepted"),
        (str(taken[0]), "ProblemClosed"),
        (str(left[0]), "ReferralDeclined"),
        (str(taken[0]), "ProblemVerified"),
    ]
    assert len(await inbox(hub, receiver)) == 2


async def test_one_id_in_two_regions_is_two_letters(hub: Hub) -> None:
    one, other, receiver = await hub.begun(3)
    problem = uuid4()
    await told(hub, one, referred(one, receiver, problem))
    await told(hub, other, referred(other, receiver, problem))
    assert [letter["ce-region"] for letter in await inbox(hub, receiver)] == [one, other]


async def test_a_region_that_was_cut_off_finds_all_of_it_when_it_is_back(hub: Hub) -> None:
    origin, receiver = await hub.begun(2)
    before = referred(origin, receiver)
    await told(hub, origin, before)
    assert len(await inbox(hub, receiver)) == 1
    hub.federation.regions[receiver].kill()
    facts = [referred(origin, receiver) for _ in range(120)]
    await told(hub, origin, *facts)
    assert (hub.region(receiver)["letters"], hub.region(receiver)["letters_fetched"]) == (121, 1)
    assert hub.waiting(receiver) == 120
    hub.federation.regions[receiver].start()
    letters = await inbox(hub, receiver)
    assert said(letters) == [(str(problem), "ProblemReferred") for problem, _ in (before, *facts)]
    assert hub.waiting(receiver) == 0


async def test_a_region_whose_nats_lost_its_disk_finds_its_inbox_again_as_it_was(hub: Hub) -> None:
    origin, receiver = await hub.begun(2)
    await told(hub, origin, *(referred(origin, receiver) for _ in range(5)))
    held = await inbox(hub, receiver)
    server = hub.federation.regions[receiver]
    server.kill()
    server.lose_disk()
    server.start()
    assert said(await inbox(hub, receiver)) == said(held)


async def test_what_a_region_has_no_right_to_say_is_set_aside_and_nobody_hears_it(hub: Hub) -> None:
    origin, receiver, forger = await hub.begun(3)
    problem, event = referred(origin, receiver)
    await told(hub, forger, (problem, event))  # as if it were the origin
    unasked = uuid4()
    await told(hub, forger, (unasked, ReferralAccepted(origin, forger)), referred(forger, receiver, unasked))
    await told(hub, forger, (uuid4(), RegionIntroduced(origin, "mine")))
    await told(hub, forger, (uuid4(), RegionIntroduced(forger, "first")), (uuid4(), RegionIntroduced(forger, "second")))
    assert await inbox(hub, receiver) == []
    assert await inbox(hub, origin) == []
    query = "select error from quarantine where follower = 'forwarding' and stream = $1 order by position"
    errors = await asked(hub, query, stream_name(forger, "reports"))
    assert ["Forged" in error for error in errors] == [True, True, False, True, True]
    assert errors[2] == "behind an event in quarantine"
    assert hub.stream(forger)["quarantined"] == 5
    query = "select public_key from introduced where region = any($1)"
    assert await asked(hub, query, [origin, forger]) == ["first"]


async def test_what_is_published_under_another_regions_name_is_forged(hub: Hub) -> None:
    origin, receiver, forger = await hub.begun(3)
    async with hub.federation.at_region(origin) as jetstream:
        await publish(jetstream, origin, "reports", referred(forger, receiver))
        stolen = await jetstream.get_msg(stream_name(origin, "reports"), seq=1)
    async with hub.federation.at_region(forger) as jetstream:
        subject = (stolen.subject or "").replace(origin, forger)
        headers = {name: value for name, value in (stolen.headers or {}).items() if name.startswith("ce-")}
        await jetstream.publish(subject, stolen.data or b"", headers=headers)
    await forwarded_async(hub, forger, 1)
    assert await inbox(hub, receiver) == []
    assert hub.stream(forger)["quarantined"] == 1


async def test_an_event_that_no_log_would_take_holds_up_nobodys_inbox(hub: Hub) -> None:
    """It would fit into a stream, and into no answer."""
    origin, receiver = await hub.begun(2)
    await told(hub, origin, referred(origin, receiver))
    async with hub.federation.at_region(origin) as jetstream:
        first = await jetstream.get_msg(stream_name(origin, "reports"), seq=1)
        names = {name: value for name, value in (first.headers or {}).items() if name.startswith("ce-")}
        headers = names | {"ce-id": str(uuid4()), "ce-subject": str(uuid4()), "ce-position": "2"}
        room = (1 << 20) - len("NATS/1.0\r\n\r\n") - sum(len(f"{one}: {headers[one]}\r\n") for one in headers)
        await jetstream.publish(first.subject or "", (first.data or b"").ljust(room), headers=headers)
    await told(hub, origin, referred(origin, receiver))
    assert [letter["ce-position"] for letter in await inbox(hub, receiver)] == ["1", "3"]
    assert hub.stream(origin)["quarantined"] == 1


async def test_words_that_postgresql_cannot_hold_hold_up_nobody(hub: Hub) -> None:
    origin, receiver = await hub.begun(2)
    await told(hub, origin, (uuid4(), RegionIntroduced(origin, "a\0b")), referred(origin, f"{receiver}\0"))
    await told(hub, origin, referred(origin, receiver))
    assert [letter["ce-position"] for letter in await inbox(hub, receiver)] == ["3"]
    assert hub.stream(origin)["quarantined"] == 2


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00", "2026-W01-1"]
)
async def test_a_moment_that_no_clock_shows_holds_up_nobody(hub: Hub, moment: str) -> None:
    """PostgreSQL holds none of the first two, and nobody can tell whether the others are before or after any other."""
    origin, receiver = await hub.begun(2)
    await told(hub, origin, referred(origin, receiver))
    async with hub.federation.at_region(origin) as jetstream:
        first = await jetstream.get_msg(stream_name(origin, "reports"), seq=1)
        names = {name: value for name, value in (first.headers or {}).items() if name.startswith("ce-")}
        forged = {"ce-id": str(uuid4()), "ce-subject": str(uuid4()), "ce-position": "2", "ce-time": moment}
        await jetstream.publish(first.subject or "", first.data or b"", headers=names | forged)
    await told(hub, origin, referred(origin, receiver))
    assert [letter["ce-position"] for letter in await inbox(hub, receiver)] == ["1", "3"]


async def test_what_is_for_a_region_that_is_not_admitted_waits_for_an_operator(hub: Hub) -> None:
    origin, receiver = await hub.begun(2)
    later = "r" + uuid4().hex[:8]
    problem, event = referred(origin, later)
    await told(hub, origin, (problem, event), (problem, ReferralWithdrawn(origin, later)), referred(origin, receiver))
    assert len(await inbox(hub, receiver)) == 1
    assert hub.stream(origin)["quarantined"] == 2
    assert _retried(hub, origin, problem) == 2
    hub.admitted(later)
    eventually(lambda: hub.region(later))
    assert _retried(hub, origin, problem) == 0
    assert said(await inbox(hub, later)) == [(str(problem), "ProblemReferred"), (str(problem), "ReferralWithdrawn")]
    assert hub.stream(origin)["quarantined"] == 0


def _retried(hub: Hub, region: str, problem: UUID) -> int:
    """How many events of a problem are left after an operator's retry."""
    retry = hub.service.run("hub", "retry", "forwarding", stream_name(region, "reports"), str(problem))
    return int(retry.stdout.split()[-1])


@pytest.mark.drills
async def test_a_hub_that_is_killed_at_any_moment_forwards_each_event_once(hub: Hub) -> None:
    origin, receiver = await hub.begun(2)
    facts = [referred(origin, receiver) for _ in range(3_000)]
    for n in range(6):
        position = await hub.told(origin, *facts[n * 500 : (n + 1) * 500])
        await asyncio.sleep(0.05 * n)
        hub.service.kill("hub", "worker")
        hub.service.start("hub", "worker")
    await forwarded_async(hub, origin, position)
    letters = await inbox(hub, receiver)
    assert said(letters) == [(str(problem), "ProblemReferred") for problem, _ in facts]


async def test_a_region_reads_its_own_inbox_alone_and_writes_into_none(hub: Hub) -> None:
    origin, receiver, curious = await hub.begun(3)
    await told(hub, origin, referred(origin, receiver))
    assert len(await inbox(hub, receiver)) == 1
    async with connected(hub.federation.regions[curious].url) as client:
        jetstream = client.jetstream()
        await jetstream.add_stream(inbox_config(receiver))  # under the name of another, in its own server
        await jetstream.publish(f"inbox.{receiver}.x", b"forged")
    assert await inbox(hub, curious) == []
    assert len(await inbox(hub, receiver)) == 1
    client = await connect(hub.federation.regions[curious].url, "test", inbox=INBOX)
    for subject in (f"$JS.hub.API.STREAM.PURGE.{stream_name(curious, 'reports')}", f"$JS.{receiver}.API.STREAM.NAMES"):
        with pytest.raises((NoRespondersError, TimeoutError)):
            await client.request(subject, b"", timeout=1)
    await client.close()


async def test_an_answer_goes_to_an_inbox_and_nowhere_else(hub: Hub) -> None:
    region = hub.admitted()
    client = await connect(hub.federation.regions[region].url, "test", inbox=INBOX)
    async with hub.federation.client_at_hub(region) as hearing:
        elsewhere = await hearing.subscribe("elsewhere")
        await hearing.flush()
        assert await inbox(hub, region) == []  # by now the hub answers
        for question in (STANDING, REGIONS, ADDRESSED):
            await client.publish(question, b"0", reply="elsewhere")
        assert (await client.request(ADDRESSED, b"0", timeout=5)).data
        with pytest.raises(TimeoutError):
            await elsewhere.next_msg(0.5)
    await client.close()


async def test_a_hub_cannot_write_into_a_regions_own_inbox(hub: Hub) -> None:
    region = hub.admitted()
    assert await inbox(hub, region) == []
    async with hub.federation.client_at_hub(region) as client:
        await client.publish(f"inbox.{region}.forged", b"x")
        await client.flush()
    await asyncio.sleep(0.5)
    assert await inbox(hub, region) == []


async def test_the_hub_tells_by_which_key_to_seal_for_each_region_that_is_admitted(hub: Hub) -> None:
    one, other, asks = await hub.begun(3)
    await told(hub, one, (uuid4(), RegionIntroduced(one, "key of one")))
    await told(hub, other, (uuid4(), RegionIntroduced(other, "key of other")))

    async def directory() -> dict[str, Any]:
        client = await connect(hub.federation.regions[asks].url, "test", inbox=INBOX)
        answer = json.loads((await client.request(REGIONS, timeout=5)).data)
        await client.close()
        return {region["name"]: region["public_key"] for region in answer}

    known = await directory()
    assert (known[one], known[other]) == ("key of one", "key of other")
    assert asks not in known
    hub.federation.revoke(other)
    eventually(lambda: _revoked(hub, other))
    assert other not in await directory()


async def test_a_region_that_was_turned_away_holds_up_nobody_who_had_a_problem_from_it(hub: Hub) -> None:
    origin, receiver, third = await hub.begun(3)
    problem, offer = referred(origin, receiver)
    await told(hub, origin, (problem, offer))
    await told(hub, receiver, (problem, ReferralAccepted(origin, receiver)))
    hub.federation.revoke(origin)
    eventually(lambda: _revoked(hub, origin))
    await told(hub, receiver, (problem, ProblemVerified("low")), referred(receiver, third, problem))
    assert said(await inbox(hub, third)) == [(str(problem), "ProblemReferred")]
    assert hub.stream(receiver)["quarantined"] == 0
    waiting = await asked(hub, "select count(*) from inbox where region = $1", origin)
    assert waiting == [3]  # what it would have heard, had it not been turned away


def _revoked(hub: Hub, region: str) -> None:
    assert hub.region(region)["revoked_at"] is not None
