"""Who asks without end is heeded now and then, and holds up nobody: on a real nats-server."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.broker.heeding import WITHIN_S, heed
from rembuk.process.cancelling import cancel

MOST = 5


@pytest.fixture
async def clients(nats_url: str) -> AsyncIterator[tuple[Client, Client]]:
    """Who answers, and who asks."""
    both = await nats.connect(nats_url), await nats.connect(nats_url)
    yield both
    for one in both:
        await one.close()


async def _echo(question: Msg) -> None:
    await question.respond(question.data)


async def _answered(client: Client, subject: str) -> bool:
    with suppress(nats.errors.NoRespondersError, nats.errors.TimeoutError):
        await client.request(subject, b"", timeout=1)
        return True
    return False


async def _heeding(
    clients: tuple[Client, Client], subject: str, answer: Callable[[Msg], Awaitable[None]]
) -> asyncio.Task[None]:
    """A task that heeds what is asked there, once it does: the first question is answered."""
    task = asyncio.create_task(heed(clients[0], subject, answer, MOST))
    async with asyncio.timeout(5):
        while not await _answered(clients[1], subject):
            await asyncio.sleep(0.01)
    return task


async def test_so_many_questions_a_second_are_heeded_and_the_server_keeps_back_the_rest(
    clients: tuple[Client, Client],
) -> None:
    answering, asking = clients
    task = await _heeding(clients, "asked.much", _echo)
    began, before = time.monotonic(), answering.stats["in_msgs"]
    while answering.stats["in_msgs"] < before + 3 * MOST:
        for _ in range(50):
            await asking.publish("asked.much", b"", reply="nobody")
        await asking.flush()
        await asyncio.sleep(0.01)
    heeded = answering.stats["in_msgs"] - before
    assert heeded <= MOST * (2 + (time.monotonic() - began) / WITHIN_S)
    await cancel([task])


async def test_whoever_asks_now_and_then_is_always_answered_though_one_question_cannot_be(
    clients: tuple[Client, Client],
) -> None:
    async def answer(question: Msg) -> None:
        await _echo(question)
        raise ValueError("it cannot be answered")

    task = await _heeding(clients, "asked.seldom", answer)
    for _ in range(2 * MOST):
        await asyncio.sleep(WITHIN_S / MOST)  # is what is tested
        assert await _answered(clients[1], "asked.seldom")
    await cancel([task])


async def test_who_has_ended_heeds_nobody(clients: tuple[Client, Client]) -> None:
    task = await _heeding(clients, "asked.late", _echo)
    await cancel([task])
    async with asyncio.timeout(5):
        while await _answered(clients[1], "asked.late"):
            await asyncio.sleep(0.01)
