"""Pulling: what waits is taken at once, nothing is lost between two requests, and no answer is taken for another's."""

import asyncio
import time
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig
from rembuk.broker.pulling import MAX_BYTES, Pull


@pytest.fixture
async def stream(broker: Client) -> str:
    name = f"PULLING_{uuid4().hex[:8]}"
    jetstream = broker.jetstream()
    await jetstream.add_stream(name=name, subjects=[f"{name}.>"])
    await jetstream.add_consumer(name, ConsumerConfig(durable_name="reader", ack_policy=AckPolicy.ALL))
    return name


@pytest.fixture
def pull(broker: Client, stream: str) -> Pull:
    return Pull(broker, stream, "reader")


async def publish(broker: Client, stream: str, *words: str) -> None:
    for word in words:
        await broker.jetstream().publish(f"{stream}.said", word.encode(), headers={"Status": "404"})


def said(messages: list[Msg]) -> list[str]:
    return [message.data.decode() for message in messages]


async def test_what_waits_is_taken_at_once_and_in_order(broker: Client, stream: str, pull: Pull) -> None:
    await publish(broker, stream, *"abcde")
    assert said(await pull.take(3)) == ["a", "b", "c"]
    assert said(await pull.take(500)) == ["d", "e"]
    assert said(await pull.take(500)) == []


async def test_where_nothing_waits_the_first_that_comes_is_taken(broker: Client, stream: str, pull: Pull) -> None:
    taking = asyncio.create_task(pull.take(500, 20))
    await asyncio.sleep(0.1)
    assert not taking.done()
    await publish(broker, stream, "late", "later")
    assert said(await taking) == ["late"]
    assert said(await pull.take(500)) == ["later"]


async def test_nothing_in_time_is_nothing(pull: Pull) -> None:
    began = time.monotonic()
    assert await pull.take(500, 0.3) == []
    assert 0.2 < time.monotonic() - began < 4


async def test_a_request_whose_caller_gave_up_loses_no_message_and_ends_no_other(
    broker: Client, stream: str, pull: Pull
) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pull.take(500, 0.5), 0.05)
    await publish(broker, stream, "a", "b", "c", "d")
    taken: list[str] = []
    while len(taken) < 4:
        messages = await pull.take(500, 10)
        assert messages, "the end of a request that was given up ended this one"
        taken += said(messages)
    assert taken == ["a", "b", "c", "d"]


@pytest.mark.parametrize("within", [0, 60])
async def test_without_its_consumer_it_fails_at_once(broker: Client, stream: str, within: float) -> None:
    with pytest.raises(Error):
        await Pull(broker, stream, "nobody").take(500, within)


async def test_a_consumer_deleted_while_it_waits_is_noticed_at_once(broker: Client, stream: str, pull: Pull) -> None:
    taking = asyncio.create_task(pull.take(500, 60))
    await asyncio.sleep(0.2)
    await broker.jetstream().delete_consumer(stream, "reader")
    with pytest.raises(Error):
        await asyncio.wait_for(taking, 10)


async def test_large_messages_are_taken_few_at_a_time(broker: Client, stream: str, pull: Pull) -> None:
    for _ in range(20):
        await broker.jetstream().publish(f"{stream}.said", b"x" * 1_000_000)
    sizes: list[int] = []
    while messages := await pull.take(500):
        sizes.append(sum(len(message.data) for message in messages))
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= MAX_BYTES
