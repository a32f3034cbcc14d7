"""The shortcuts through nats-py do what nats-py does."""

from collections.abc import AsyncIterator
from typing import cast

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from rembuk.broker import nats_wire

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=":"), min_size=1)
values = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n")).map(str.strip)


@pytest.fixture(scope="module")
async def clients(nats_url: str) -> AsyncIterator[tuple[Client, Client]]:
    """One that parses headers as ours do, and one that does as nats-py does."""
    ours, theirs = nats_wire.quicken(await nats.connect(nats_url)), await nats.connect(nats_url)
    yield ours, theirs
    await ours.close()
    await theirs.close()


@given(st.lists(st.dictionaries(names, values, min_size=1, max_size=20), min_size=1, max_size=20))
async def test_headers_are_parsed_as_nats_py_parses_them(
    clients: tuple[Client, Client], sent: list[dict[str, str]]
) -> None:
    subscriptions = [await client.subscribe("wire.headers") for client in clients]
    for client in clients:
        await client.flush()
    lines = ["".join(f"{name}: {value}\r\n" for name, value in headers.items()) for headers in sent]
    await nats_wire.send(clients[0], [nats_wire.message("wire.headers", one, b"") for one in lines])
    for subscription in subscriptions:
        assert [(await subscription.next_msg(5)).headers for _ in sent] == sent
        await subscription.unsubscribe()


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


async def test_the_client_parses_by_our_parser_once_quickened(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a nats-py which renames what we replace is noticed."""
    monkeypatch.setattr(nats_wire, "parse_header_lines", lambda _: {"parsed": "by ours"})
    client = nats_wire.quicken(await nats.connect(nats_url))
    subscription = await client.subscribe("wire.quickened")
    await client.publish("wire.quickened", b"", headers={"parsed": "by theirs"})
    assert (await subscription.next_msg(5)).headers == {"parsed": "by ours"}
    await client.close()
