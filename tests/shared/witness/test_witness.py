"""Witnesses: they vouch for what goes on from what they have seen, and for nothing else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rembuk.keys.key_setting import BadKey
from rembuk.proof.cosignature import Cosigner, WitnessVerifier, cosigned_at
from rembuk.proof.merkle import EMPTY_ROOT, Frontier, consistency_ranges, leaf_hash
from rembuk.proof.signed_note import Signer, TreeHead, encoded, signature_of, verified
from rembuk.settings import Settings
from rembuk.testing.services import TEST_KEY
from rembuk.testing.tallies import TallyRegion
from rembuk.testing.witnesses import served
from rembuk.witness.cosigning import Cosigning
from rembuk.witness.witness import NotCosigned, Witness
from rembuk.witness.witness_settings import BadWitnessSetting

NAME = "polmas/jateng/reports/witness"


class Log:
    """A log of numbered leaves, of any size, with the proofs that it grew."""

    def __init__(self, fork: bytes = b"") -> None:
        self.signer = Signer(f"polmas/t{secrets.token_hex(5)}/reports", secrets.token_bytes(32))
        self.fork = fork

    def root(self, first: int, end: int) -> bytes:
        frontier = Frontier()
        for n in range(first, end):
            frontier.append(leaf_hash(b"%d" % n + self.fork))
        return frontier.root

    def note(self, size: int) -> str:
        return self.signer.sign(TreeHead(self.signer.verifier.name, size, self.root(0, size)).text)

    def request(self, old: int, new: int, said: int | None = None) -> str:
        """Of a head, with the proof from `old`; `said` stands there as the old size."""
        hashes = [self.root(*one) for one in (consistency_ranges(old, new) if old <= new else ())]
        return asked(old if said is None else said, hashes, self.note(new))


def asked(old: int, hashes: Sequence[bytes], note: str) -> str:
    return "\n".join([f"old {old}", *map(encoded, hashes), "", note])


@pytest.fixture
def one_log() -> Log:
    return Log()


@pytest.fixture
async def witness(other_region: TallyRegion, one_log: Log) -> AsyncIterator[Witness]:
    """It knows one log, and keeps what it has seen in a database of its own."""
    witness = Witness(other_region.url, Cosigner(NAME, secrets.token_bytes(32)), lambda: [one_log.signer.verifier])
    await witness.start()
    yield witness
    await witness.stop()


async def refused(witness: Witness, request: str) -> tuple[int, int | None]:
    with pytest.raises(NotCosigned) as refusal:
        await witness.add_checkpoint(request)
    return refusal.value.status, refusal.value.size


async def test_a_head_is_vouched_for_with_the_time_and_so_is_what_goes_on_from_it(
    witness: Witness, one_log: Log
) -> None:
    for old, new in ((0, 3), (3, 3), (3, 8), (8, 21)):
        line = await witness.add_checkpoint(one_log.request(old, new))
        note = one_log.note(new) + line
        assert TreeHead.of(verified(note, [witness.verifier])).size == new
        assert cosigned_at(signature_of(line.rstrip("\n"))).year >= 2026


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=st.lists(st.integers(0, 70), min_size=1, max_size=6))
async def test_whatever_is_shown_in_whatever_order_what_is_vouched_for_only_grows(
    other_region: TallyRegion, sizes: list[int]
) -> None:
    log, last = Log(), 0
    witness = Witness(other_region.url, Cosigner(NAME, bytes(32)), lambda: [log.signer.verifier])
    await witness.start()
    try:
        for size in sizes:
            if size >= last:
                await witness.add_checkpoint(log.request(last, size))
                last = size
            else:
                assert await refused(witness, log.request(last, size)) == (400, None)
                assert await refused(witness, log.request(size, size)) == (409, last)
    finally:
        await witness.stop()


async def test_an_older_checkpoint_that_is_shown_again_is_answered_with_the_size_that_is_known(
    witness: Witness, one_log: Log
) -> None:
    first = one_log.request(0, 5)
    await witness.add_checkpoint(first)
    await witness.add_checkpoint(one_log.request(5, 9))
    assert await refused(witness, first) == (409, 9)
    assert await refused(witness, one_log.request(5, 9)) == (409, 9)


async def test_a_log_that_forks_is_not_vouched_for(witness: Witness, one_log: Log) -> None:
    await witness.add_checkpoint(one_log.request(0, 5))
    one_log.fork = b" otherwise"
    assert await refused(witness, one_log.request(5, 5)) == (409, 5)
    assert await refused(witness, one_log.request(5, 9)) == (422, None)
    one_log.fork = b""
    await witness.add_checkpoint(one_log.request(5, 9))


async def test_a_proof_that_is_wrong_or_missing_is_refused(witness: Witness, one_log: Log) -> None:
    await witness.add_checkpoint(one_log.request(0, 5))
    note = one_log.note(9)
    right = [one_log.root(*one) for one in consistency_ranges(5, 9)]
    for hashes in ([], right[1:], right[::-1], [*right, bytes(32)]):
        assert await refused(witness, asked(5, hashes, note)) == (422, None)
    await witness.add_checkpoint(asked(5, right, note))


async def test_the_empty_tree_has_one_root(witness: Witness, one_log: Log) -> None:
    name = one_log.signer.verifier.name
    assert await refused(witness, asked(0, [], one_log.signer.sign(TreeHead(name, 0, bytes(32)).text))) == (422, None)
    await witness.add_checkpoint(asked(0, [], one_log.signer.sign(TreeHead(name, 0, EMPTY_ROOT).text)))


async def test_a_stranger_is_told_that_he_is_one(witness: Witness, one_log: Log) -> None:
    assert await refused(witness, Log().request(0, 5)) == (404, None)
    name = one_log.signer.verifier.name
    for signer in (Signer(name, secrets.token_bytes(32)), Signer("somebody/else", secrets.token_bytes(32))):
        note = signer.sign(TreeHead(name, 5, one_log.root(0, 5)).text)
        assert await refused(witness, asked(0, [], note)) == (403, None)
    forged = one_log.note(5).replace("\n5\n", "\n6\n")
    assert await refused(witness, asked(0, [], forged)) == (403, None)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text.replace("old 0", "old 00"),
        lambda text: text.replace("old 0", "new 0"),
        lambda text: text.replace("old 0", "old 0\nAAAA"),
        lambda text: text.replace("old 0\n", "old 0\n" + f"{encoded(bytes(32))}\n" * 64),
        lambda text: text.replace("\n\n", "\n", 1),
        lambda text: text.rpartition("\n\n")[0],
        lambda text: text + "no signature\n",
        lambda text: text.replace("\n5\n", "\nfive\n"),
    ],
)
async def test_what_is_not_as_the_protocol_has_it_is_refused(witness: Witness, one_log: Log, spoil: Any) -> None:
    assert (await refused(witness, spoil(one_log.request(0, 5))))[0] == 400


async def test_of_many_that_come_at_once_none_takes_another_back(
    witness: Witness, one_log: Log, other_region: TallyRegion
) -> None:
    """Asked of two processes, over and over, since a race is not lost each time."""
    other = Witness(other_region.url, Cosigner(NAME, bytes(32)), lambda: [one_log.signer.verifier])
    await other.start()
    last = 0
    for _ in range(12):
        sizes = range(last + 1, last + 7)
        asked = [one.add_checkpoint(one_log.request(last, size)) for size in sizes for one in (witness, other)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        [won] = [number for number, answer in enumerate(answers) if isinstance(answer, str)]
        last = sizes[won // 2]
        assert {one.size for one in answers if isinstance(one, NotCosigned)} == {last}
    connection = await asyncpg.connect(other_region.url)
    assert (
        await connection.fetchval("select size from witnessed where origin = $1", one_log.signer.verifier.name) == last
    )
    await connection.close()
    await other.stop()


async def test_a_witness_that_starts_again_remembers(witness: Witness, one_log: Log, other_region: TallyRegion) -> None:
    await witness.add_checkpoint(one_log.request(0, 5))
    again = Witness(other_region.url, Cosigner(NAME, bytes(32)), lambda: [one_log.signer.verifier])
    await again.start()
    assert await refused(again, one_log.request(0, 5)) == (409, 5)
    await again.stop()


async def test_http_answers_as_the_protocol_says(witness: Witness, one_log: Log) -> None:
    async with served(witness) as prefix, httpx.AsyncClient() as http:

        async def shown(request: str) -> httpx.Response:
            return await http.post(f"{prefix}/add-checkpoint", content=request)

        good = await shown(one_log.request(0, 5))
        assert (good.status_code, good.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        conflict = await shown(one_log.request(0, 5))
        assert (conflict.status_code, conflict.text) == (409, "5\n")
        assert conflict.headers["content-type"].startswith("text/x.tlog.size")
        for request, status in ((Log().request(0, 5), 404), ("old 1", 400), (one_log.request(5, 5)[:-9], 400)):
            assert (await shown(request)).status_code == status
        key = (await http.get(f"{prefix}/key")).text
        assert str(WitnessVerifier.of(key)) == str(witness.verifier)


async def test_http_refuses_what_is_malformed_and_holds_the_longest_log(witness: Witness, one_log: Log) -> None:
    def head(size: int, root: str = encoded(bytes(32))) -> str:
        return "old 0\n\n" + one_log.signer.sign(f"{one_log.signer.verifier.name}\n{size}\n{root}\n")

    good = one_log.request(0, 5)
    async with served(witness) as prefix, httpx.AsyncClient() as http:
        for request, status in (
            (good.replace("old 0\n", "old 0\n\u00e9\n"), 400),
            (head(5, "\u00e9"), 400),
            (head(5, "\u00e9").replace("polmas", "nobody"), 400),
            (good[:-1] + "\u2028\u2014 somebody AAAAAAAA\n", 400),
            (good.encode() + "\u2014 ".encode() + b"\xff AAAAAAAA\n", 400),
            (head(2**63), 400),
            (head(10**19 - 1), 400),
            (head(2**63 - 1), 200),
        ):
            answer = await http.post(f"{prefix}/add-checkpoint", content=request)
            assert answer.status_code == status, (request, answer.text)


def told(**environment: str) -> Settings:
    required = {"REMBUK_REGION": "jateng", "REMBUK_REPORTS_DATABASE_URL": "postgresql://nowhere/none"}
    return Settings.load("reports", {**required, **environment})


def test_a_witness_needs_a_key_of_its_own_and_is_another_for_each_service(tmp_path: Any) -> None:
    logs = tmp_path / "logs"
    logs.write_text(f"# ours\n{Log().signer.verifier}  # Jawa Timur\n")
    assert Witness.told(told()) is None
    with pytest.raises(BadKey, match="the witness's key"):
        Witness.told(told(REMBUK_WITNESSED_LOGS=str(logs)))
    settings = told(REMBUK_WITNESSED_LOGS=str(logs), REMBUK_WITNESS_KEY=TEST_KEY)
    one, other = Witness.told(settings), Witness.told(replace_service(settings, "forums"))
    assert one is not None
    assert other is not None
    assert one.verifier.name == NAME
    assert str(one.verifier).rpartition("+")[2] != str(other.verifier).rpartition("+")[2]


def replace_service(settings: Settings, service: str) -> Settings:
    return msgspec.structs.replace(settings, service=service)


@pytest.mark.parametrize(
    "line", ["nonsense", "https://w.example/v1/witness nonsense", "ftp://w.example {key}", "{key}"]
)
def test_a_line_of_the_settings_that_means_nothing_is_named(tmp_path: Any, line: str) -> None:
    key = str(Cosigner(NAME, bytes(32)).verifier)
    file = tmp_path / "witnesses"
    file.write_text(line.replace("{key}", key))
    with pytest.raises(BadWitnessSetting, match="REMBUK_WITNESSES"):
        Cosigning.told(told(REMBUK_WITNESSES=str(file)), 5)
    with pytest.raises(BadWitnessSetting, match="REMBUK_WITNESSED_LOGS"):
        Witness.told(told(REMBUK_WITNESSED_LOGS=str(file), REMBUK_WITNESS_KEY=TEST_KEY))
    for path in ("relative", str(tmp_path / "missing")):
        with pytest.raises(BadWitnessSetting, match="REMBUK_WITNESSES"):
            Cosigning.told(told(REMBUK_WITNESSES=path), 5)
