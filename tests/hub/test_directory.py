"""How regions come to know each other's keys, with real services: each introduces itself once, and what it once knew of
another one it does not let itself be talked out of."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest
from nats.aio.msg import Msg
from rembuk.contracts.reports import CODEC, RegionIntroduced
from rembuk.federation.hub_regions import REGIONS
from rembuk.keys.key_setting import BadKey
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.testing.services import eventually
from rembuk.worker import connect
from reports.directory import Directory
from structlog.testing import capture_logs

from tests.hub.conftest import Hub
from tests.hub.joined import PROBLEM, Joined

INTRODUCED = "select data::json->>'public_key' from log.event where type = 'RegionIntroduced'"
OTHERS = "select name, public_key from other_region"


@pytest.fixture(scope="module")
def joined(hub: Hub, postgres_url: str) -> Iterator[Joined]:
    one = Joined(hub, postgres_url)
    yield one
    one.end()


async def key_of(joined: Joined) -> str:
    """The one that it has introduced itself with."""

    def check() -> str:
        found = joined.running.ask("reports", INTRODUCED)
        assert len(found) == 1
        return str(found[0][0])

    return await asyncio.to_thread(eventually, check)


async def known(joined: Joined, name: str, key: str) -> None:
    """Wait until the region knows another one by that key."""

    def check() -> None:
        assert dict(joined.running.ask("reports", OTHERS)).get(name) == key

    joined.running.kill("reports", "worker")  # it asks when it starts, and once a minute
    joined.running.start("reports", "worker")
    await asyncio.to_thread(eventually, check, 90)


async def test_a_region_introduces_itself_once_whatever_happens_to_its_worker(joined: Joined) -> None:
    key = await key_of(joined)
    for _ in range(2):
        joined.running.kill("reports", "worker")
        joined.running.start("reports", "worker")
    await joined.level()
    assert [row[0] for row in await joined.asked(INTRODUCED)] == [key]
    assert joined.name not in dict(await joined.asked(OTHERS))


async def test_a_region_knows_the_others_and_takes_no_other_key_of_one_that_it_knows(joined: Joined) -> None:
    hub = joined.hub
    other, new = await hub.begun(2)
    await hub.told(other, (uuid4(), RegionIntroduced(other, "first")))
    await known_at_hub(hub, other)
    await known(joined, other, "first")
    await asyncio.to_thread(
        hub.service.ask, "hub", f"update introduced set public_key = 'forged' where region = '{other}'"
    )
    await hub.told(new, (uuid4(), RegionIntroduced(new, "of the new one")))
    await known_at_hub(hub, new)
    await known(joined, new, "of the new one")
    assert dict(await joined.asked(OTHERS))[other] == "first"


async def test_a_region_whose_own_key_is_not_at_hand_hears_of_the_others_all_the_same(joined: Joined) -> None:
    hub, running = joined.hub, joined.running
    [new] = await hub.begun(1)
    await hub.told(new, (uuid4(), RegionIntroduced(new, "of another one")))
    await known_at_hub(hub, new)
    whole = running.region
    for key in ("", base64.b64encode(bytes(32)).decode()):
        await joined.asked(f"delete from other_region where name = '{new}'")
        running.region = msgspec.structs.replace(whole, region_key=key)
        await known(joined, new, "of another one")
    running.region = whole
    assert len(await joined.asked(INTRODUCED)) == 1


async def test_to_a_region_whose_key_is_none_nothing_can_be_referred(joined: Joined) -> None:
    [new] = await joined.hub.begun(1)
    await joined.hub.told(new, (uuid4(), RegionIntroduced(new, "A" * 43)))
    await known_at_hub(joined.hub, new)
    await known(joined, new, "A" * 43)
    url = joined.running.region.url("reports") + "/v1/problems"
    problem = httpx.post(url, json=PROBLEM).raise_for_status().json()["id"]
    assert httpx.post(f"{url}/{problem}/verify", json={}).is_success
    refused = httpx.post(f"{url}/{problem}/refer", json={"to": new})
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/unknown-region")
    assert "is none: nothing can be sealed for it" in refused.text


async def test_what_a_hub_says_that_names_no_regions_changes_nothing(joined: Joined, nats_url: str) -> None:
    before = await joined.asked(OTHERS)
    answers = [b"", b"{}", b'[{"name": 1}]', b'[{"name": "a\\u0000b", "public_key": "x"}]', b"[]" * 3]
    said = answers.copy()

    async def tell(question: Msg) -> None:
        await question.respond(said.pop() if said else b"[]")

    broker = await connect(nats_url, "hub")
    await broker.subscribe(REGIONS, cb=tell)
    database = joined.running.region.database("reports").service_url
    directory = Directory(database, nats_url, joined.name, lambda: RegionKeys(()), EventLog(database, CODEC))
    for _ in answers:
        with pytest.raises((msgspec.MsgspecError, asyncpg.DataError)):
            await directory.ask(broker)
    assert await joined.asked(OTHERS) == before
    await broker.close()


async def test_why_a_hub_tells_of_no_regions_is_logged_once_while_it_is_away(
    joined: Joined, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.directory.AGAIN_S", 0.01)
    monkeypatch.setattr("reports.directory.ASK_S", 0.01)
    database = joined.running.region.database("reports").service_url
    directory = Directory(database, nats_url, joined.name, without_key, EventLog(database, CODEC))
    asked = 0

    async def tell(question: Msg) -> None:
        nonlocal asked
        asked += 1
        await question.respond(b"[" if asked < 10 else b"[]")

    broker = await connect(nats_url, "hub")
    with capture_logs() as logged:
        running = asyncio.create_task(directory.run())
        await seen(lambda: any("NoResponders" in line["event"] for line in logged))
        await broker.subscribe(REGIONS, cb=tell)
        await seen(lambda: asked > 20)
        running.cancel()
        await asyncio.wait([running])
    said = [line["event"] for line in logged if line["log_level"] == "info"]
    assert [one.partition(": ")[0] for one in said] == [
        "the hub does not tell of other regions",
        "the hub does not tell of other regions",
        "the hub tells of other regions again",
    ]
    await broker.close()


async def test_to_a_region_that_was_turned_away_nothing_can_be_referred_and_its_key_is_kept(joined: Joined) -> None:
    hub = joined.hub
    [other] = await hub.begun(1)
    await hub.told(other, (uuid4(), RegionIntroduced(other, "its key")))
    await known_at_hub(hub, other)
    await known(joined, other, "its key")
    assert other in referable(joined)
    hub.federation.revoke(other)

    def check() -> None:
        assert other not in referable(joined)

    await asyncio.to_thread(eventually, check, 30)
    assert dict(await joined.asked(OTHERS))[other] == "its key"


def without_key() -> RegionKeys:
    raise BadKey("it is not at hand")


async def seen(condition: Callable[[], bool]) -> None:
    def check() -> None:
        assert condition()

    await asyncio.to_thread(eventually, check)


def referable(joined: Joined) -> set[str]:
    answer = httpx.get(joined.running.region.url("reports") + "/v1/regions").raise_for_status()
    return {one["name"] for one in answer.json()}


async def known_at_hub(hub: Hub, region: str) -> None:
    def check() -> None:
        assert hub.service.ask("hub", "select 1 from introduced where region = $1", region)

    await asyncio.to_thread(eventually, check)
