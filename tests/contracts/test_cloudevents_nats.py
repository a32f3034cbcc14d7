"""What is really published is CloudEvents 1.0 by its NATS protocol binding, as the specification has it, as their own
package reads it, and as the AsyncAPI document tells.

The vectors are written from nats-protocol-binding.md (1.0.3-wip, the first with the binary mode), spec.md and
json-format.md (1.0.2).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from uuid import UUID, uuid4

import jsonschema_rs
import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from nats.aio.msg import Msg
from rembuk.broker.cloud_events import structured
from rembuk.broker.connecting import connect
from rembuk.broker.stream_names import stream_name
from rembuk.broker.streams import LoggedMessage
from rembuk.contracts.asyncapi import document
from rembuk.contracts.document import SERVICES
from rembuk.events.codec import Codec
from rembuk.events.event import Event, Metadata
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.testing.tallies import background, eventually, messages, renewed, tally_region

HERE = Path(__file__).parent
DOCUMENT = document()
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
METADATA = [Metadata(), Metadata("tour-1", "cause", "officer:7", TRACE), Metadata("!#$&'()*+,-./:;<=>?@[]^_`{|}~")]
"""Nothing, everything, and each character that a header may hold as it is."""


class Frozen(Event, frozen=True):
    """A sample as it was recorded in its version."""

    said: bytes


class Samples(Codec):
    """Writes samples as they are."""

    def encode(self, event: Event) -> bytes:
        assert isinstance(event, Frozen)
        return event.said


class Published(msgspec.Struct):
    """What a relay made of a log's rows."""

    region: str
    service: str
    rows: list[Any]
    messages: list[Msg]


@pytest.fixture(scope="module")
async def published(postgres_url: str, nats_url: str) -> AsyncIterator[list[Published]]:
    """Every version of every event of every service, with all kinds of metadata, as a real nats-server has it."""
    region, broker = await tally_region(postgres_url), await connect(nats_url, "test")
    told = []
    for service in SERVICES:
        region = await renewed(region)
        log = EventLog(region.url, Samples(()))
        await log.start()
        samples = sorted((HERE / service).glob("*.json"))
        for number, sample in enumerate(samples):
            name, version = sample.stem.split(".")
            kind = msgspec.defstruct(name, [], bases=(Frozen,), namespace={"schema_version": int(version)}, frozen=True)
            data = msgspec.json.decode(sample.read_bytes())
            event, area = kind(msgspec.json.encode(data)), data.get("area", "")
            await log.append(uuid4(), 0, [uuid4()], [event], area, METADATA[number % len(METADATA)])
        stream = stream_name(region.name, service)

        async def all_there(stream: str = stream, events: int = len(samples)) -> None:
            assert (await broker.jetstream().stream_info(stream)).state.last_seq == events

        async with background(Relay(region.url, broker, region.name, service).run()):
            await eventually(all_there, retry=Exception)
        told.append(Published(region.name, service, await log.rows(0, 500), await messages(broker, stream)))
        await log.stop()
    yield told
    await broker.close()


def decoded(value: str) -> str:
    """A header's value as the binding reads it (3.1.3.2): first out of its quotes, if any, then percent-decoded once.

    Raises ValueError for what is no UTF-8 then.
    """
    if value[:1] == value[-1:] == '"' and len(value) > 1:
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return unquote_to_bytes(value).decode()


def attributes(message: Msg) -> dict[str, str]:
    """The attributes of a message in binary mode (3.1.3.1): headers' names know no case."""
    said = {name.lower(): value for name, value in (message.headers or {}).items()}
    return {name.removeprefix("ce-"): decoded(value) for name, value in said.items() if name.startswith("ce-")}


def every(published: list[Published]) -> list[tuple[Published, Any, Msg]]:
    return [(one, row, message) for one in published for row, message in zip(one.rows, one.messages, strict=True)]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("%41", "A"),
        ("%2520", "%20"),
        ('"a \\"b\\" c"', 'a "b" c'),
        ("plain", "plain"),
        ("", ""),
    ],
    ids=["of the text", "lower case", "needlessly encoded", "one round only", "quoted", "as it is", "empty"],
)
def test_these_tests_read_headers_as_the_binding_says(header: str, value: str) -> None:
    assert decoded(header) == value


def test_these_tests_refuse_what_the_binding_refuses() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        decoded("%C0%A0")


async def test_a_message_is_in_binary_mode(published: list[Published]) -> None:
    """3: it would be structured if its Content-Type began with application/cloudevents."""
    assert len(every(published)) == len(list(HERE.glob("*/*.json")))
    for _, row, message in every(published):
        assert "content-type" not in {name.lower() for name in message.headers or {}}
        assert message.data == row["data"].encode()


async def test_each_attribute_has_one_header_and_both_modes_say_the_same(published: list[Published]) -> None:
    """3.1.2: all attributes, extensions included, are mapped each to a header of its own, `ce-` and its name."""
    for one, row, message in every(published):
        event = structured(LoggedMessage(one.region, one.service, row))
        told = msgspec.to_builtins(event, builtin_types=(msgspec.Raw,))
        del told["data"]
        assert attributes(message) == {name: str(value) for name, value in told.items()}


async def test_a_value_is_visible_ascii_and_needs_no_encoding(published: list[Published]) -> None:
    """3.1.3.2: space, double quote, percent and all beyond U+0021 to U+007E have to be percent-encoded."""
    for _, _, message in every(published):
        for name, value in (message.headers or {}).items():
            if name.startswith("ce-"):
                assert re.fullmatch(r"[!#$&-~]*", value), name
                assert decoded(value) == value


@pytest.mark.parametrize("value", ["a b", 'a"b', "100%", "%20", "é", "€", "😀", "a\x7fb", "a\x00b"])
@pytest.mark.parametrize("field", ["correlation_id", "causation_id", "actor", "traceparent"])
async def test_what_would_have_to_be_encoded_is_not_recorded(field: str, value: str) -> None:
    log = EventLog("postgresql://nowhere", Samples(()))
    with pytest.raises(ValueError, match="no header"):
        async with asyncio.timeout(5):  # where it is taken, it waits for a log that nobody has started
            await log.append(uuid4(), 0, [uuid4()], [Frozen(b"{}")], "", Metadata(**{field: value}))


async def test_attributes_are_of_the_types_that_cloudevents_says(published: list[Published]) -> None:
    """spec.md, Type System and Context Attributes."""
    for one, row, message in every(published):
        said = attributes(message)
        assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in said)
        assert said["specversion"] == "1.0"
        assert all(said[name] for name in ("id", "source", "type", "subject", "dataschema", "datacontenttype"))
        assert urlsplit(said["source"]).path == f"/polmas/{one.region}/{one.service}"
        assert re.fullmatch(r"[a-z][a-z0-9+.-]*:[!-~]+", said["dataschema"]), "an absolute URI, RFC 3986 4.3"
        assert "#" not in said["dataschema"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", said["time"]), "RFC 3339"
        assert datetime.fromisoformat(said["time"]) == row["recorded_at"]
        assert re.fullmatch(r"application/json", said["datacontenttype"])
        assert all(-(2**31) <= int(said[name]) < 2**31 for name in ("position", "version"))


async def test_the_package_of_cloudevents_reads_both_modes_and_finds_the_same(published: list[Published]) -> None:
    """It knows no NATS; headers are as in its HTTP binding, whose percent-encoding is the same."""
    for one, row, message in every(published):
        binary = from_binary_event(HTTPMessage(message.headers or {}, message.data))
        line = msgspec.json.encode(structured(LoggedMessage(one.region, one.service, row)))
        json = JSONFormat().read(None, line)
        assert binary.get_data() == json.get_data() == msgspec.json.decode(row["data"])
        assert binary.get_time() == json.get_time() == row["recorded_at"]
        assert UUID(binary.get_id()) == UUID(json.get_id()) == row["id"]
        assert (binary.get_datacontenttype(), binary.get_type()) == ("application/json", row["type"])
        assert {name: str(value) for name, value in binary.get_attributes().items()} == {
            name: str(value) for name, value in json.get_attributes().items()
        }


async def test_the_asyncapi_document_tells_what_is_published(published: list[Published]) -> None:
    for one, row, message in every(published):
        told = DOCUMENT["components"]["messages"][f"{one.service}.{row['type']}.{row['schema_version']}"]
        for schema, instance in (
            (told["headers"], message.headers),
            (told["payload"], msgspec.json.decode(message.data)),
        ):
            whole = {**schema, "components": DOCUMENT["components"]}
            jsonschema_rs.Draft7Validator(whole, validate_formats=True).validate(instance)
        known = DOCUMENT["components"]["schemas"]["headers"]["properties"]
        own = {name for name in message.headers or {} if not re.match("Nats-(Batch|Expected)-", name)}
        assert own <= set(known)


async def test_the_asyncapi_document_tells_no_header_that_is_never_published(published: list[Published]) -> None:
    seen = {name for _, _, message in every(published) for name in message.headers or {}}
    assert set(DOCUMENT["components"]["schemas"]["headers"]["properties"]) <= seen
