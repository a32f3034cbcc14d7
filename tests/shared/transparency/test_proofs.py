"""What a service tells of its tree: proofs by heads that witnesses have seen, keys that are gone, and nothing false."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest
from rembuk.events.decider import Refused
from rembuk.keys.key_setting import BadKey
from rembuk.log.event_log import EventLog
from rembuk.proof.cosignature import Cosigner
from rembuk.proof.receipt import proven
from rembuk.proof.signed_note import Signer, Verifier, parts
from rembuk.settings import Settings
from rembuk.testing.tallies import SERVICE, TallyRegion, count_up
from rembuk.transparency.log_key import signers
from rembuk.transparency.proofs import NotYet, Proofs, Unproven
from rembuk.transparency.signing import Signing
from structlog.testing import capture_logs

OLD, NEW = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))

COSIGNER = Cosigner("polmas/jateng/reports/witness", b"w" * 32)
ADD = "select log.add_tree_cosignature($1, $2, $3, now())"


def told(region: TallyRegion, keys: str) -> Settings:
    environment = {
        "REMBUK_REGION": region.name,
        "REMBUK_TALLIES_DATABASE_URL": region.url,
        "REMBUK_LOG_KEY": keys,
    }
    return Settings.load(SERVICE, environment)


async def sign(region: TallyRegion, keys: str) -> None:
    signing = Signing(region.url, region.name, SERVICE, signers(told(region, keys))[0])
    await signing.sign()
    signing.close()


@pytest.fixture
async def proofs(region: TallyRegion) -> AsyncIterator[Callable[[str], Awaitable[Proofs]]]:
    """Those of a service with these keys."""
    started: list[Proofs] = []

    async def start(keys: str) -> Proofs:
        started.append(Proofs(told(region, keys)))
        await started[-1].start()
        return started[-1]

    yield start
    for one in started:
        await one.stop()


async def test_an_event_is_proven_once_a_head_contains_it(
    region: TallyRegion, log: EventLog, proofs: Callable[[str], Awaitable[Proofs]]
) -> None:
    ours = await proofs(NEW)
    await count_up(log, 300)
    with pytest.raises(Refused, match="none is signed yet"):
        await ours.checkpoint(None)
    with pytest.raises(NotYet):
        await ours.receipt(300)
    with pytest.raises(Refused, match="no event at 301"):
        await ours.receipt(301)
    await sign(region, NEW)
    for position in (1, 256, 257, 300):
        found = proven(await ours.receipt(position), [ours.signer.verifier])
        assert (found.event.position, found.size) == (position, 300)


async def test_a_proof_is_by_the_last_head_that_a_witness_has_seen_where_that_contains_the_event(
    region: TallyRegion, log: EventLog, proofs: Callable[[str], Awaitable[Proofs]]
) -> None:
    ours = await proofs(NEW)
    connection = await asyncpg.connect(region.url)
    for size in (10, 20):
        await count_up(log, 10)
        await sign(region, NEW)
        if size == 10:
            line = str(COSIGNER.cosign(parts(await ours.checkpoint(10))[0], datetime.now(UTC)))
            await connection.execute(ADD, 10, str(COSIGNER.verifier), line)
    await connection.execute(ADD, 20, str(COSIGNER.verifier), line)  # which is of another head
    await connection.close()
    assert [proven(await ours.receipt(position)).size for position in (10, 11)] == [10, 20]


async def test_rows_that_are_no_key_and_no_cosignature_are_left_out_and_logged(
    region: TallyRegion, log: EventLog, proofs: Callable[[str], Awaitable[Proofs]]
) -> None:
    """The service's own role can put them there, and nobody may remove them."""
    ours = await proofs(NEW)
    await count_up(log, 20)
    await sign(region, NEW)
    keys, checkpoint = await ours.keys(), await ours.checkpoint(None)
    connection = await asyncpg.connect(region.url)
    for key in ("polmas/jatim/tallies+garbage", str(COSIGNER.verifier), str(Signer("x", bytes(32)).verifier)):
        await connection.execute("select log.add_tree_key($1)", key)
    for witness in ("x", str(COSIGNER.verifier)):
        await connection.execute(ADD, 20, witness, "\u2014 x AAAA\n")
    await connection.close()
    with capture_logs() as logged:
        assert (await ours.keys(), await ours.checkpoint(None), await ours.checkpoint(20)) == (
            keys, checkpoint, checkpoint
        )  # fmt: skip
        assert proven(await ours.receipt(17), [ours.signer.verifier]).size == 20
    assert {one["event"].partition(":")[0] for one in logged} == {"a cosignature is left out", "a key is left out"}
    await count_up(log, 1)
    await sign(region, NEW)
    assert proven(await ours.receipt(21)).size == 21


async def test_a_log_that_was_altered_is_not_proven(
    region: TallyRegion, log: EventLog, proofs: Callable[[str], Awaitable[Proofs]]
) -> None:
    ours = await proofs(NEW)
    await count_up(log, 20)
    await sign(region, NEW)
    owner = await asyncpg.connect(region.owner_url)
    await owner.execute("alter table log.event disable trigger append_only")
    await owner.execute("update log.event set area = '35.79' where position = 7")
    await owner.close()
    for position in (7, 8):
        with pytest.raises(Unproven, match="not in the tree that was signed"):
            await ours.receipt(position)


async def test_a_key_that_is_gone_is_still_known(
    region: TallyRegion, log: EventLog, proofs: Callable[[str], Awaitable[Proofs]]
) -> None:
    for keys in (OLD, NEW):
        await count_up(log, 10)
        await sign(region, keys)
    with_both, alone = await proofs(f"{NEW} {OLD}"), await proofs(NEW)
    for ours in (with_both, alone):
        assert [str(one) for one in map(Verifier.of, await ours.keys())] == [
            str(one.verifier) for one in signers(told(region, f"{NEW} {OLD}"))
        ]
    assert proven(await alone.receipt(3)).key == str(alone.signer.verifier)


def test_there_are_no_proofs_without_a_key() -> None:
    region = TallyRegion("jatim", "", "", "postgresql://nowhere/none")
    with pytest.raises(BadKey, match="the log's key"):
        Proofs(told(region, ""))
