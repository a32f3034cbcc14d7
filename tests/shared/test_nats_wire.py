"""The shortcuts through nats-py do what nats-py does."""

from typing import cast

import nats
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from rembuk import nats_wire

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=":"), min_size=1)
values = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n")).map(str.strip)


@given(st.dictionaries(names, values, max_size=20))
def test_headers_are_parsed_as_nats_py_parses_them(headers: dict[str, str]) -> None:
    raw = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    assert nats_wire.parse_header_lines(raw) == Client._parse_header_lines(raw) == headers


@given(st.binary(max_size=200))
def test_garbage_in_headers_stops_nobody(raw: bytes) -> None:
    assert isinstance(nats_wire.parse_header_lines(raw), dict)


async def test_a_message_arrives_as_if_nats_py_had_published_it(nats_url: str) -> None:
    client = nats_wire.quicken(await nats.connect(nats_url))
    subscription = await client.subscribe("wire.test")
    header = {"ce-id": "1", "ce-area": "", "ce-actor": "résumé"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in header.items())
    await client.publish("wire.test", b"data", headers=header)
    await nats_wire.send(client, [nats_wire.message("wire.test", lines, b"data")] * 3)
    arrived = [await subscription.next_msg(5) for _ in range(4)]
    assert {(message.subject, message.data) for message in arrived} == {("wire.test", b"data")}
    assert all(cast("dict[str, str]", message.headers) == header for message in arrived)
    await client.close()


async def test_the_client_parses_by_our_parser_once_quickened(nats_url: str) -> None:
    """So that a nats-py which renames what we replace is noticed."""
    client = await nats.connect(nats_url)
    assert callable(client._parse_header_lines)
    assert callable(client._send_command)
    assert callable(client._flush_pending)
    assert nats_wire.quicken(client)._parse_header_lines is nats_wire.parse_header_lines  # type: ignore[comparison-overlap]
    await client.close()
