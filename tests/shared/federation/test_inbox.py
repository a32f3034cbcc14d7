"""A region's inbox: letters come to a stream of its own, each once and at the place that it has at the hub, and are
reacted to whatever their own logs called them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from rembuk.broker.nats_wire import parse_header_lines
from rembuk.broker.stream_names import inbox_name
from rembuk.broker.streams import header_lines, recorded
from rembuk.federation.hub_regions import ADDRESSED
from rembuk.federation.inbox import Inbox, InboxCheckpoint, Letter, LetterPage
from rembuk.flow.reactions import Reactor
from rembuk.log.event_log import EventLog
from rembuk.testing.tallies import CODEC, SERVICE, Counted, TallyRegion, background, eventually, everything, messages
from structlog.testing import capture_logs

from tests.shared.flow.test_reactions import echo, react, totals

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def letter(place: int, region: str, position: int, tally: UUID, at: datetime = NOW) -> Letter:
    """An event of another region, `position` in its own log, as that one's relay publishes it in a batch."""
    row = {
        "position": position, "id": uuid4(), "stream_id": tally, "version": position, "type": "Counted",
        "schema_version": 1, "area": "", "metadata": "{}", "recorded_at": at,
    }  # fmt: skip
    headers = parse_header_lines(header_lines(region, SERVICE, row).encode())
    headers |= {"ce-dataschema": f"urn:{headers['ce-dataschema']}", "Nats-Expected-Last-Sequence": str(position - 1)}
    return Letter(place, headers, msgspec.json.encode(Counted(position)))


class Kept:
    """What a hub keeps for the region, told two letters at a time; it may lose them."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    async def tell(self, question: Msg) -> None:
        after = int(question.data)
        event_id = self.letters[after - 1].headers["ce-id"] if 0 < after <= len(self.letters) else ""
        page = LetterPage(len(self.letters), event_id, self.letters[after : after + 2])
        await question.respond(msgspec.msgpack.encode(page))


@pytest.fixture
async def hub(broker: Client) -> AsyncIterator[Kept]:
    kept = Kept()
    subscription = await broker.subscribe(ADDRESSED, cb=kept.tell)
    yield kept
    await subscription.unsubscribe()


async def all_of(hub: Kept, client: Client, region: str) -> list[Msg]:
    """The region's stream once it holds every letter."""

    async def check() -> list[Msg]:
        found = await messages(client, inbox_name(region))
        assert len(found) == len(hub.letters)
        return found

    return await eventually(check, retry=Exception)


async def test_letters_come_in_order_and_once_also_when_two_fetch_them(
    hub: Kept, broker: Client, nats_url: str, region: TallyRegion
) -> None:
    tally = uuid4()
    hub.letters = [letter(n, "jabar", 7 * n, tally) for n in range(1, 6)]
    async with background(Inbox(nats_url, region.name).run()), background(Inbox(nats_url, region.name).run()):
        await all_of(hub, broker, region.name)
        hub.letters += [letter(n, "jatim", n, tally) for n in range(6, 12)]
        found = await all_of(hub, broker, region.name)
    facts = [recorded(CODEC, message) for message in found]
    assert [str(fact.id) for fact in facts] == [one.headers["ce-id"] for one in hub.letters]
    assert [fact.position for fact in facts] == [7, 14, 21, 28, 35, 6, 7, 8, 9, 10, 11]
    assert [message.metadata.sequence.stream for message in found] == list(range(1, 12))


async def test_what_a_region_said_a_day_ago_is_reacted_to_after_what_another_says_now(
    hub: Kept, broker: Client, nats_url: str, region: TallyRegion, other_region: TallyRegion
) -> None:
    log = EventLog(other_region.url, CODEC)
    await log.start()
    checkpoint = InboxCheckpoint(other_region.url, "echo", inbox_name(region.name))
    reactor, tally = Reactor(checkpoint, CODEC, react, log), uuid4()
    inbox = Inbox(nats_url, region.name)
    await checkpoint.position()
    for one in (letter(1, "jabar", 7, tally), letter(2, "jatim", 3, tally, NOW - timedelta(days=1))):
        hub.letters.append(one)
        await inbox.fetch(broker)
        await reactor.process(await all_of(hub, broker, region.name))
    [fact, *_] = [recorded(CODEC, message) for message in await all_of(hub, broker, region.name)]
    assert totals(await everything(log))[echo(fact)] == 2 * (7 + 3)  # it counts each twice
    checkpoint.connection.drop()
    await log.stop()


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=8)
        | st.sampled_from(
            ["Nats-Rollup", "nats-msg-id", "a\nNats-Rollup", "a\rb", "é", "a b", "", "X-Kept", "ce-area"]
        ),
        st.text(max_size=8) | st.sampled_from(["all", "a\r\nNats-Rollup: all", "a\nNats-Expected-Last-Sequence: 0"]),
        max_size=4,
    )
)
async def test_no_header_of_another_regions_letter_is_more_than_that_or_holds_up_those_that_follow(
    hub: Kept, broker: Client, nats_url: str, region: TallyRegion, evil: dict[str, str]
) -> None:
    hub.letters += [letter(len(hub.letters) + n, "jabar", n, uuid4()) for n in (1, 2)]
    hub.letters[-2].headers.update(evil)
    assert await Inbox(nats_url, region.name).fetch(broker)
    found = await messages(broker, inbox_name(region.name))
    assert len(found) == len(hub.letters)
    names, ours = set(found[-2].headers or {}), {"Nats-Expected-Last-Sequence", "Nats-Expected-Stream"}
    assert {name for name in names if name.lower().startswith("nats-")} == ours
    assert names - ours <= set(hub.letters[-2].headers)
    assert (found[-1].headers or {})["ce-id"] == hub.letters[-1].headers["ce-id"]


async def test_what_a_hub_says_that_is_no_page_of_letters_ends_nothing_and_what_it_says_then_is_heard(
    broker: Client, nats_url: str, region: TallyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rembuk.federation.inbox.ASK_S", 0.01)
    kept, sound = Kept(), letter(1, "jabar", 7, uuid4())
    kept.letters = [sound]

    def without(name: str, **changed: str) -> dict[str, str]:
        return {key: value for key, value in (sound.headers | changed).items() if key != name}

    unsound = [without("ce-type"), without("ce-region"), without("", **{"ce-type": "a b"})]
    unsound += [without("", **{"ce-type": "a\r\nPUB x 0"}), {}]
    answers = [b"", b"nonsense", msgspec.msgpack.encode([1]), b"\xc1" * 100]
    answers += [msgspec.msgpack.encode(LetterPage(1, "", [Letter(1, headers, b"{}")])) for headers in unsound]
    answers += [
        msgspec.msgpack.encode(LetterPage(1, "", [msgspec.structs.replace(sound, position=n)])) for n in (0, -1, 9)
    ]

    async def tell(question: Msg) -> None:
        if answers:
            await question.respond(answers.pop())
        else:
            await kept.tell(question)

    subscription = await broker.subscribe(ADDRESSED, cb=tell)
    inbox = Inbox(nats_url, region.name)
    async with background(inbox.run()):
        found = await all_of(kept, broker, region.name)
    assert [(one.headers or {})["ce-id"] for one in found] == [sound.headers["ce-id"]]
    assert not answers
    await subscription.unsubscribe()


async def test_without_the_hub_it_waits(broker: Client, nats_url: str, region: TallyRegion) -> None:
    with pytest.raises(NoRespondersError):
        await Inbox(nats_url, region.name).fetch(broker)


@pytest.mark.parametrize("others", [1, 3], ids=["fewer", "more"])
async def test_of_a_hub_whose_letters_are_others_now_nothing_is_taken_and_it_is_said_once(
    hub: Kept, broker: Client, nats_url: str, region: TallyRegion, others: int
) -> None:
    inbox = Inbox(nats_url, region.name)
    hub.letters = [letter(1, "jabar", 7, uuid4()), letter(2, "jabar", 8, uuid4())]
    assert await inbox.fetch(broker)
    assert not await inbox.fetch(broker)
    hub.letters = [letter(n, "jabar", n, uuid4()) for n in range(1, others + 1)]
    with capture_logs() as said:
        assert not await inbox.fetch(broker)
        assert not await inbox.fetch(broker)
    assert [(one["log_level"], one["event"]) for one in said] == [
        ("critical", "the hub's letters are not those that came from it up to 2: nothing is fetched")
    ]
    assert len(await messages(broker, inbox_name(region.name))) == 2
