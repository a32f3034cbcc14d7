"""Receipts and promises, verified by ours and by the script for everybody: what is true is proven, whatever was done
to the file is refused or does no harm."""

from __future__ import annotations

import runpy
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given, settings
from hypothesis import strategies as st
from rembuk.proof import base45
from rembuk.proof.cosignature import Cosigner, verifiers
from rembuk.proof.merkle import Frontier, inclusion_ranges, leaf_hash
from rembuk.proof.promises import promising
from rembuk.proof.receipt import BadReceipt, Proven, contradictions, proven, require_data
from rembuk.proof.receipt_code import packed, svg, unpacked
from rembuk.proof.signed_note import Signer, TreeHead, Verifier
from rembuk.proof.tlog_proof import PROMISE, RECEIPT, LogProof, extra_of
from rembuk.transparency.leaves import leaf

SCRIPT: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[3] / "docs/verify_receipt.py"))
AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
DATA = '{"area":"35.78.08.1004","title":"Lampu padam","description":"Di gang belakang \\"Pasar\\"."}'
SIGNER = Signer("polmas/jatim/reports", b"k" * 32)
WITNESS = Cosigner("polmas/jateng/reports/witness", b"w" * 32)
OTHER_WITNESS = Cosigner("polmas/bali/reports/witness", b"v" * 32)
KEYS: list[Verifier] = [SIGNER.verifier, WITNESS.verifier]
REFUSALS = (ValueError, InvalidSignature)


def row(position: int, data: str = DATA) -> dict[str, Any]:
    return {
        "position": position, "id": UUID(int=position), "stream_id": UUID(int=position + 1000), "version": 1,
        "type": "ProblemReported", "schema_version": 1, "area": "35.78.08.1004", "data": data, "metadata": "{}",
        "recorded_at": AT,
    }  # fmt: skip


def root_of(leaves: Sequence[bytes]) -> bytes:
    frontier = Frontier()
    for one in leaves:
        frontier.append(leaf_hash(one))
    return frontier.root


def receipt(
    position: int = 3, size: int = 7, signer: Signer = SIGNER, cosigners: Sequence[Cosigner] = (WITNESS,),
    region: str = "jatim", data: str = DATA, origin: str = "polmas/jatim/reports", index: int | None = None,
) -> str:  # fmt: skip
    """Of the event at a position, in the tree over the first `size` ones."""
    leaves = [leaf(region, "reports", row(n, data if n == position else DATA)) for n in range(1, size + 1)]
    text = TreeHead(origin, size, root_of(leaves)).text
    note = signer.sign(text) + "".join(str(one.cosign(text, AT)) for one in cosigners)
    index = position - 1 if index is None else index
    hashes = [root_of(leaves[first:end]) for first, end in inclusion_ranges(index, size)]
    return str(LogProof(RECEIPT, extra_of(leaves[index], [signer.verifier]), index, hashes, note))


def promises(*rows: dict[str, Any], signer: Signer = SIGNER) -> list[str]:
    return promising(signer, partial(leaf, "jatim", "reports"))(rows)


GOOD = {"receipt": receipt(), "promise": promises(row(1), row(2), row(3))[2]}


def ours(text: str, keys: Sequence[Verifier] = KEYS) -> Any:
    return proven(text, keys).leaf


def the_scripts(text: str, keys: Sequence[Verifier] = KEYS) -> Any:
    event, _ = SCRIPT["verify"](text, [SCRIPT["verifier"](str(key)) for key in keys])
    lines = "".join(f"{name}: {value}\r\n" for name, value in event.items())
    return leaf_hash(lines.encode()).hex()


BOTH = pytest.mark.parametrize("verify", [ours, the_scripts])
EACH = pytest.mark.parametrize("what", GOOD)


def refuses(verify: Callable[..., Any], text: str, keys: Sequence[Verifier] = KEYS) -> None:
    with pytest.raises(REFUSALS):
        verify(text, keys)


def test_a_receipt_says_what_is_where_by_whom_it_is_signed_and_who_has_seen_it() -> None:
    found = proven(GOOD["receipt"], KEYS)
    event = found.event
    assert (event.region, event.service, event.position, event.type) == ("jatim", "reports", 3, "ProblemReported")
    assert (event.id, event.area, event.time) == (str(UUID(int=3)), "35.78.08.1004", AT.isoformat())
    assert (found.promise, found.size, found.key, found.trusted) == (False, 7, str(SIGNER.verifier), True)
    [witness] = found.cosigned
    assert (witness.witness, witness.at) == (str(WITNESS.verifier), AT)


def test_a_file_holds_nothing_of_what_was_reported() -> None:
    for text in GOOD.values():
        extra = LogProof.of(text).extra.decode()
        assert "ce-id" in extra
        assert "Lampu" not in text + extra


@BOTH
@EACH
def test_what_is_true_is_proven(verify: Callable[..., Any], what: str) -> None:
    assert verify(GOOD[what]) == leaf_hash(leaf("jatim", "reports", row(3))).hex()


@BOTH
@settings(deadline=None)
@given(position=st.integers(1, 40), more=st.integers(0, 40))
def test_every_event_of_every_tree_is_proven(verify: Callable[..., Any], position: int, more: int) -> None:
    verify(receipt(position, position + more))
    for one in promises(*(row(n) for n in range(1, position + 1))):
        verify(one)


@BOTH
@EACH
@settings(deadline=None)
@given(data=st.data())
def test_a_byte_that_is_changed_is_noticed_or_does_no_harm(
    verify: Callable[..., Any], what: str, data: st.DataObject
) -> None:
    good = GOOD[what].encode()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    for keys in (KEYS, []):
        try:
            found = verify(bad.decode(), keys)
        except REFUSALS:
            continue
        assert found == verify(good.decode(), keys)


@BOTH
@EACH
@settings(deadline=None)
@given(data=st.data())
def test_not_a_byte_of_what_the_log_has_signed_can_be_changed_nor_of_its_signature(
    verify: Callable[..., Any], what: str, data: st.DataObject
) -> None:
    good = GOOD[what].encode()
    note = good.index(b"\n\n") + 2
    end = good.index(b"\n", good.index("\n\u2014 polmas/jatim/reports ".encode()) + 1)
    bad = bytearray(good)
    bad[data.draw(st.integers(note, end))] ^= data.draw(st.integers(1, 255))
    for keys in (KEYS, []):
        with pytest.raises(REFUSALS):
            verify(bad.decode(), keys)


@BOTH
def test_the_name_of_a_key_is_not_its_signature(verify: Callable[..., Any]) -> None:
    forger = Signer(SIGNER.verifier.name, secrets.token_bytes(32))
    forger.verifier.key_id = SIGNER.verifier.key_id
    refuses(verify, receipt(signer=forger))
    refuses(verify, promises(row(3), signer=forger)[0])


@BOTH
@EACH
@settings(deadline=None)
@given(data=st.data())
def test_what_is_cut_short_is_refused(verify: Callable[..., Any], what: str, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, GOOD[what].rindex("\n\n") + 60))  # within the signature at the latest
    refuses(verify, GOOD[what][:end])


@BOTH
def test_what_was_signed_by_others_or_is_of_another_log_is_refused(verify: Callable[..., Any]) -> None:
    stranger = Signer("polmas/jatim/reports", secrets.token_bytes(32))
    neighbour = Signer("polmas/jateng/reports", b"k" * 32)
    refuses(verify, receipt(signer=stranger))
    refuses(verify, promises(row(3), signer=stranger)[0])
    refuses(verify, receipt(signer=neighbour), [neighbour.verifier])  # of a head that is not its own
    refuses(verify, receipt(region="jateng"))  # an event of another region
    refuses(verify, receipt(position=3, index=3).replace("index 3", "index 2"))
    refuses(verify, GOOD["receipt"], [neighbour.verifier])


@BOTH
def test_an_event_at_another_index_is_refused(verify: Callable[..., Any]) -> None:
    leaves = [leaf("jatim", "reports", row(9 - n)) for n in range(1, 9)]  # a tree whose leaves are in no order
    hashes = [root_of(leaves[first:end]) for first, end in inclusion_ranges(1, 8)]
    note = SIGNER.sign(TreeHead(SIGNER.verifier.name, 8, root_of(leaves)).text)
    refuses(verify, str(LogProof(RECEIPT, extra_of(leaves[1], []), 1, hashes, note)))


@BOTH
def test_a_cosignature_by_a_trusted_witness_is_true_or_all_is_refused(verify: Callable[..., Any]) -> None:
    true, false = receipt(cosigners=[]), str(WITNESS.cosign("another text\n", AT))
    assert verify(true + str(OTHER_WITNESS.cosign("of whatever\n", AT))) == verify(true)  # nobody trusts it
    refuses(verify, true + false)


def test_a_witness_that_is_not_trusted_is_named_as_unchecked() -> None:
    found = proven(receipt(cosigners=[WITNESS, OTHER_WITNESS]), KEYS)
    assert [one.at for one in found.cosigned] == [AT, None]


def test_without_a_trusted_key_the_file_is_taken_at_its_word_and_that_is_said() -> None:
    stranger = Signer("polmas/jatim/reports", secrets.token_bytes(32))
    for keys in ([], [WITNESS.verifier]):
        found = proven(receipt(signer=stranger), keys)
        assert (found.trusted, found.key) == (False, str(stranger.verifier))


@BOTH
def test_no_tree_head_is_a_promise_and_no_promise_a_tree_head(verify: Callable[..., Any]) -> None:
    for text, kind in ((GOOD["receipt"], PROMISE), (GOOD["promise"], RECEIPT)):
        refuses(verify, str(replace(LogProof.of(text), kind=kind)))


def test_the_data_are_those_of_the_event_however_they_are_laid_out() -> None:
    event = proven(GOOD["receipt"], KEYS).event
    data = msgspec.json.decode(DATA)
    feed = [{"specversion": "1.0", "id": "another", "data": {}}, {"specversion": "1.0", "id": event.id, "data": data}]
    for same in (DATA.encode(), msgspec.json.format(DATA.encode()), msgspec.json.encode(feed)):
        require_data(event, same)
    for other in (b"{}", DATA.replace("Pasar", "pasar").encode(), b"\xff", b"[]", msgspec.json.encode(feed[:1])):
        with pytest.raises(BadReceipt, match="not those of the event"):
            require_data(event, other)


def test_a_broken_promise_is_proven_by_promise_and_receipt() -> None:
    kept, broken = proven(receipt(), KEYS), proven(receipt(data="{}"), KEYS)
    promise = proven(GOOD["promise"], KEYS)
    assert contradictions([promise, kept]) == []
    assert "has signed two events at position 3" in contradictions([promise, broken])[0]
    two_trees = contradictions([proven(receipt(position=5), KEYS), broken])
    assert "has signed two trees of size 7" in two_trees[0]


def test_receipts_of_other_logs_and_positions_contradict_nothing() -> None:
    def at(position: int, size: int) -> Proven:
        return proven(receipt(position, size), KEYS)

    assert contradictions([at(1, 7), at(2, 7), at(1, 9), proven(promises(row(3))[0], KEYS)]) == []


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_base45_is_read_as_it_is_written(data: bytes) -> None:
    assert base45.decode(base45.encode(data)) == data


def test_base45_is_that_of_its_rfc() -> None:
    assert base45.encode(b"Hello!!") == "%69 VD92EX0"
    assert base45.encode(b"base-45") == "UJCLQE7W581"
    for bad in ("A", "GGW", ":::", "ab", "::"):
        with pytest.raises(ValueError, match="not base45"):
            base45.decode(bad)


def test_a_code_says_what_the_file_says() -> None:
    assert proven(packed(GOOD["receipt"]) + "\n", KEYS) == proven(GOOD["receipt"], KEYS)
    assert b"<svg" in svg(GOOD["receipt"])
    for bad in (packed(GOOD["receipt"])[:-30], "REMBUK1:", "REMBUK1:A", packed("A" * 100_000)):
        with pytest.raises(ValueError):
            unpacked(bad)
        with pytest.raises(BadReceipt):
            proven(bad, KEYS)


def test_a_code_holds_the_receipt_of_the_largest_log_with_three_cosignatures() -> None:
    text = TreeHead(SIGNER.verifier.name, 2**40, secrets.token_bytes(32)).text
    note = SIGNER.sign(text) + "".join(
        str(Cosigner(f"polmas/region{n}/reports/witness", secrets.token_bytes(32)).cosign(text, AT)) for n in range(3)
    )
    extra = extra_of(leaf("jatim", "reports", row(2**40)), [SIGNER.verifier])
    hashes = [secrets.token_bytes(32) for _ in range(40)]
    assert len(svg(str(LogProof(RECEIPT, extra, 2**40 - 1, hashes, note)))) > 10_000


def test_keys_are_read_line_by_line() -> None:
    text = f"# of Jawa Timur\n{SIGNER.verifier}\n\n {WITNESS.verifier} \n"
    assert [str(one) for one in verifiers(text)] == [str(SIGNER.verifier), str(WITNESS.verifier)]
