"""On the broker: subjects that can be filtered, headers that nothing breaks out of, events that come back whole."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.broker.cloud_events import binary, published, structured
from rembuk.broker.stream_names import area_filter, stream_name, subject, subject_prefix
from rembuk.broker.streams import LoggedMessage, header_lines, recorded, row, stored_message, stream_config
from rembuk.events.codec import Undecodable
from rembuk.events.event import Metadata
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.testing.tallies import (
    CODEC,
    SERVICE,
    Counted,
    TallyRegion,
    background,
    eventually,
    everything,
    level,
    messages,
)
from rembuk.transparency.leaves import leaf, published_leaf

AREAS = ["", "35", "35.78", "35.78.08", "35.78.08.1004"]
PLAIN = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"%\\'), max_size=60)


def test_names_are_made_of_region_and_service() -> None:
    assert stream_name("jatim", "reports") == "JATIM_REPORTS"
    assert subject_prefix("jatim", "reports") == "polmas.jatim.reports"


@pytest.mark.parametrize("area", AREAS)
def test_every_subject_has_seven_tokens_none_of_them_empty(area: str) -> None:
    tokens = subject("polmas.jatim.reports", "ProblemReported", area).split(".")
    assert len(tokens) == 7
    assert all(tokens)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", AREAS),
        ("35", AREAS[1:]),
        ("35.78", AREAS[2:]),
        ("35.78.08", AREAS[3:]),
        ("35.78.08.1004", AREAS[3:]),
        ("35.79", []),
        ("3", []),
    ],
)
async def test_the_filter_of_an_area_finds_it_and_what_is_below(
    broker: Client, region: TallyRegion, wanted: str, found: list[str]
) -> None:
    subscription = await broker.subscribe(area_filter(region.prefix, wanted))
    for area in AREAS:
        await broker.publish(subject(region.prefix, "Counted", area), area.encode())
    await broker.publish(subject(region.prefix + "x", "Counted", "35.78"), b"of another service")
    await broker.flush()
    heard = [(await subscription.next_msg(0.5)).data.decode() for _ in found]
    assert heard == found
    assert subscription.pending_msgs == 0
    await subscription.unsubscribe()


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    area=st.sampled_from(AREAS),
    metadata=st.builds(Metadata, PLAIN, PLAIN, PLAIN, PLAIN),
    note=st.text(),
)
async def test_an_event_comes_back_from_the_stream_as_it_stands_in_the_log(
    log: EventLog, broker: Client, region: TallyRegion, area: str, metadata: Metadata, note: str
) -> None:
    await log.append(uuid4(), 0, [uuid4()], [Counted(1, note)], area, metadata)
    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        await eventually(lambda: level(log, broker, region.stream), retry=Exception)


@given(area=st.sampled_from(AREAS), metadata=st.builds(Metadata, PLAIN, PLAIN, PLAIN, PLAIN), note=st.text())
def test_a_row_is_shown_as_its_message_says(area: str, metadata: Metadata, note: str) -> None:
    row = {
        "id": uuid4(), "type": "Counted", "stream_id": uuid4(), "schema_version": 1, "position": 7, "version": 3,
        "recorded_at": datetime(2026, 1, 2, tzinfo=UTC), "area": area,
        "data": CODEC.encode(Counted(1, note)).decode(), "metadata": msgspec.json.encode(metadata).decode(),
    }  # fmt: skip
    assert published("jatim", SERVICE, row) == structured(LoggedMessage("jatim", SERVICE, row))


@pytest.mark.parametrize("field", ["correlation_id", "causation_id", "actor", "traceparent"])
@pytest.mark.parametrize(
    "value", ["a\r\nNats-Rollup: all", "a\nb", "a\rb", "a\x00b", "\u2028", "é", "a b", "100%", "a" * 3_000]
)
async def test_metadata_that_would_break_out_of_its_header_never_reach_the_log(
    log: EventLog, field: str, value: str
) -> None:
    with pytest.raises(ValueError, match="no header"):
        await log.append(uuid4(), 0, [uuid4()], [Counted(1)], "", Metadata(**{field: value}))
    assert await everything(log) == []


@pytest.mark.parametrize("value", ["a\r\nNats-Rollup: all", "a\nb", "a\rb"])
def test_a_row_that_would_break_out_of_its_headers_is_not_published(value: str) -> None:
    row = {
        "id": uuid4(), "type": "Counted", "stream_id": uuid4(), "schema_version": 1, "position": 1, "version": 1,
        "recorded_at": datetime(2026, 1, 2, tzinfo=UTC), "area": value, "metadata": "{}",
    }  # fmt: skip
    with pytest.raises(ValueError, match="line break"):
        header_lines("jatim", "tallies", row)


EARLIER = {
    "Nats-Msg-Id": str(UUID(int=1)), "ce-id": str(UUID(int=1)), "ce-specversion": "1.0", "ce-type": "Counted",
    "ce-source": "/polmas/jatim/tallies", "ce-subject": str(UUID(int=2)), "ce-time": "2026-01-02T03:04:05+00:00",
    "ce-dataschema": "/schemas/tallies/Counted/1.json", "ce-region": "jatim", "ce-position": "7", "ce-version": "3",
    "ce-area": "35.78", "ce-correlationid": "tour-1", "ce-causationid": "cause", "ce-actor": "officer:7",
    "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
}  # fmt: skip
"""What the first releases published of an event."""
SINCE = {"ce-dataschema": f"rembuk:{EARLIER['ce-dataschema']}", "ce-datacontenttype": "application/json"} | {
    "ce-traceparent": EARLIER["traceparent"]
}


def held(headers: dict[str, str]) -> Msg:
    return stored_message("JATIM_TALLIES", 7, headers, b'{"by":1}')


def test_what_an_earlier_release_published_says_the_same_and_has_the_same_leaf() -> None:
    before, now = held(EARLIER), held(EARLIER | SINCE)
    assert row("jatim", "tallies", before) == row("jatim", "tallies", now)
    assert recorded(CODEC, before) == recorded(CODEC, now)
    logged = row("jatim", "tallies", before)
    assert LoggedMessage("jatim", "tallies", logged).headers == now.headers
    assert leaf("jatim", "tallies", logged) == published_leaf(before) == published_leaf(now)
    assert structured(now) == structured(LoggedMessage("jatim", "tallies", logged))
    assert binary("JATIM_TALLIES", structured(now)).headers == now.headers


@pytest.mark.parametrize(
    "change",
    [
        {"ce-dataschema": "polmas:/schemas/tallies/Counted/1.json"},
        {"ce-dataschema": "/schemas/reports/Counted/1.json"},
        {"ce-datacontenttype": "text/plain"}, {"ce-datacontenttype": ""}, {"ce-traceparent": "00"},
        {"ce-source": "/polmas/jateng/tallies"}, {"ce-time": "2026-01-01T00:00:00"},
        {"ce-time": "0001-01-01T00:00:00+23:59"}, {"ce-time": "9999-12-31T23:59:59-23:59"},
    ],
)  # fmt: skip
def test_what_no_release_published_is_no_row(change: dict[str, str]) -> None:
    with pytest.raises(Undecodable, match=next(iter(change))):
        row("jatim", "tallies", held(EARLIER | SINCE | change))


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"ce-position": "1"},
        {"ce-position": "2"},
        {"ce-position": "one"},
        {"ce-position": "1", "ce-id": "no id"},
        {"ce-position": "1", "ce-id": str(UUID(int=1)), "ce-subject": str(UUID(int=2)), "ce-version": "1"},
    ],
)
async def test_what_no_relay_published_is_undecodable(
    broker: Client, region: TallyRegion, headers: dict[str, str] | None
) -> None:
    await broker.jetstream().add_stream(stream_config(region.name, SERVICE))
    await broker.jetstream().publish(f"{region.prefix}.x", b"garbage", headers=headers)
    [message] = await messages(broker, region.stream)
    with pytest.raises(Undecodable):
        recorded(CODEC, message)


def test_a_message_of_another_position_than_it_says_is_undecodable() -> None:
    message = Msg(None, reply="$JS.ACK.S.C.1.7.7.1.0", headers={"ce-position": "6"})  # type: ignore[arg-type]
    with pytest.raises(Undecodable, match="position 6 stands at sequence 7"):
        recorded(CODEC, message)
