"""A log that has itself witnessed: each head is shown to its witness, who stops nothing and forgets nothing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from rembuk.log.event_log import EventLog
from rembuk.proof.cosignature import Cosigner
from rembuk.proof.signed_note import Signer, TreeHead, verified
from rembuk.testing.tallies import CODEC, SERVICE, TallyRegion, background, count_up, eventually
from rembuk.testing.witnesses import served
from rembuk.transparency.signing import Signing
from rembuk.transparency.tree import Tree, origin
from rembuk.witness import cosigning as cosigning_module
from rembuk.witness.cosigning import Cosigning
from rembuk.witness.witness import Witness

NAME = "polmas/jateng/reports/witness"
COSIGNER, AT = Cosigner(NAME, b"w" * 32), datetime(2026, 11, 26, tzinfo=UTC)


class Witnessed:
    """A region's log that signs, its tree, and a witness of it that is served."""

    def __init__(self, region: TallyRegion, connection: asyncpg.Connection[Any], signer: Signer) -> None:
        self.region, self.signer = region, signer
        self.tree = Tree(connection, region.name, SERVICE)
        self.connection = connection
        self.signing = Signing(region.url, region.name, SERVICE, signer, 0.01)

    def cosigning(self, prefix: str, witness: Witness | Cosigner) -> Cosigning:
        return Cosigning(self.region.url, self.region.name, SERVICE, {str(witness.verifier): prefix}, 0.05)

    async def standing(self) -> asyncpg.Record:
        row = await self.connection.fetchrow("select * from witness")
        assert row is not None
        return row


@pytest.fixture
async def witnessed(region: TallyRegion) -> AsyncIterator[Witnessed]:
    connection = await asyncpg.connect(region.url)
    it = Witnessed(region, connection, Signer(origin(region.name, SERVICE), secrets.token_bytes(32)))
    yield it
    it.signing.close()
    await connection.close()


@pytest.fixture
async def its_witness(other_region: TallyRegion, witnessed: Witnessed) -> AsyncIterator[tuple[Witness, str]]:
    witness = Witness(other_region.url, Cosigner(NAME, secrets.token_bytes(32)), lambda: [witnessed.signer.verifier])
    await witness.start()
    async with served(witness) as prefix:
        yield witness, prefix
    await witness.stop()


async def test_each_head_is_shown_to_the_witness_and_bears_its_cosignature(
    log: EventLog, witnessed: Witnessed, its_witness: tuple[Witness, str]
) -> None:
    witness, prefix = its_witness
    cosigning = witnessed.cosigning(prefix, witness)
    for events in (10, 300, 1):
        await count_up(log, events)
        await witnessed.signing.sign()
        await cosigning.ask()
        head, note = await witnessed.tree.latest()
        assert TreeHead.of(verified(note, [witness.verifier])) == head
        assert await witnessed.tree.cosigned() == head.size
        row = await witnessed.standing()
        assert (row["size"], row["failing_since"]) == (head.size, None)
    lines = note.count(NAME)
    await cosigning.ask()
    assert (await witnessed.tree.latest())[1].count(NAME) == lines == 1
    cosigning.close()


async def test_a_witness_that_is_away_stops_nothing_and_is_asked_again_with_the_last_head(
    log: EventLog, witnessed: Witnessed, its_witness: tuple[Witness, str]
) -> None:
    witness, prefix = its_witness
    nowhere = witnessed.cosigning("http://127.0.0.1:9/v1/witness", witness)
    for events in (10, 20):
        await count_up(log, events)
        assert await witnessed.signing.sign() is not None
        await nowhere.ask()
    row = await witnessed.standing()
    assert "cannot be reached" in row["failure"]
    assert row["failing_since"] is not None
    nowhere.close()
    cosigning = witnessed.cosigning(prefix, witness)
    async with background(cosigning.run()):
        await eventually(_cosigned(witnessed.tree, 30))
    assert (await witnessed.standing())["failure"] == ""


@asynccontextmanager
async def answering(said: bytes) -> AsyncIterator[str]:
    """A server that says the same to everybody, whatever that is."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/witness"


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 500 \r\n\r\n\x00\xff",
        b"HTTP/1.1 200 OK\r\n\r\n\xff",
        b"",
        b"\x00nonsense\r\n\r\n",
        b"HTTP/1.1 409 \r\n\r\n" + b"9" * 60_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"HTTP/1.1 409 \r\n\r\n1\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + str(COSIGNER.cosign("another head\n", AT)).encode(),
        b"HTTP/1.1 200 OK\r\n\r\n" + str(Cosigner(NAME, bytes(32)).cosign("", AT)).encode(),
    ],
)
async def test_whatever_a_witness_answers_the_log_goes_on_and_believes_what_is_signed_alone(
    log: EventLog, witnessed: Witnessed, said: bytes
) -> None:
    async with answering(said) as prefix:
        cosigning = witnessed.cosigning(prefix, COSIGNER)
        await count_up(log, 10)
        await witnessed.signing.sign()
        await cosigning.ask()
        cosigning.close()
    assert await witnessed.tree.cosigned() == 0
    assert (await witnessed.standing())["failing_since"] is not None or b"409" in said


@asynccontextmanager
async def without_end(said: bytes) -> AsyncIterator[str]:
    """A server that goes on saying something, and never comes to an end."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            while True:
                writer.write(said)
                await writer.drain()
                await asyncio.sleep(0.02)

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/witness"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("said", [b"", b"H", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000])
async def test_a_witness_whose_answer_has_no_end_is_told_so_and_keeps_no_other_waiting(
    log: EventLog,
    witnessed: Witnessed,
    its_witness: tuple[Witness, str],
    said: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cosigning_module, "ANSWER_S", 5.0)
    witness, prefix = its_witness
    async with without_end(said) as endless:
        prefixes = {str(COSIGNER.verifier): endless, str(witness.verifier): prefix}
        cosigning = Cosigning(witnessed.region.url, witnessed.region.name, SERVICE, prefixes, 0.05)
        async with background(cosigning.run()):
            for events in (10, 20):
                await count_up(log, 10)
                await witnessed.signing.sign()
                async with asyncio.timeout(4.5):
                    await eventually(_cosigned(witnessed.tree, events))

            async def told() -> None:
                rows = await witnessed.connection.fetch("select * from witness where failing_since is not null")
                assert [row["verifier_key"] for row in rows] == [str(COSIGNER.verifier)]

            await eventually(told)


def _cosigned(tree: Tree, size: int) -> Any:
    async def cosigned() -> None:
        assert await tree.cosigned() == size

    return cosigned


async def test_whoever_forgot_how_far_the_witness_is_is_told_and_goes_on(
    region: TallyRegion, log: EventLog, witnessed: Witnessed, its_witness: tuple[Witness, str]
) -> None:
    witness, prefix = its_witness
    cosigning = witnessed.cosigning(prefix, witness)
    await count_up(log, 10)
    await witnessed.signing.sign()
    await cosigning.ask()
    await witnessed.connection.execute("update witness set size = 0")
    await count_up(log, 10)
    await witnessed.signing.sign()
    await cosigning.ask()
    assert (await witnessed.standing())["size"] == 20
    cosigning.close()


async def test_a_log_restored_from_an_old_backup_with_other_events_is_found_out(
    log: EventLog, witnessed: Witnessed, its_witness: tuple[Witness, str], databases: list[TallyRegion]
) -> None:
    """The same name, the same key, another past."""
    witness, prefix = its_witness
    await count_up(log, 20)
    await witnessed.signing.sign()
    cosigning = witnessed.cosigning(prefix, witness)
    await cosigning.ask()
    cosigning.close()
    forked = replace(databases[1], name=witnessed.region.name)  # its log is empty, and its witness' table not in use
    other = EventLog(forked.url, CODEC)
    await other.start()
    connection = await asyncpg.connect(forked.url)
    fork = Witnessed(forked, connection, witnessed.signer)
    cosigning = fork.cosigning(prefix, witness)
    for events, why in ((15, "more than we have"), (5, "another tree than ours"), (5, "422")):
        await count_up(other, events)
        await fork.signing.sign()
        await cosigning.ask()
        row = await fork.standing()
        assert why in row["failure"], (events, row["failure"])
        assert await fork.tree.cosigned() == 0
    cosigning.close()
    fork.signing.close()
    await connection.close()
    await other.stop()
