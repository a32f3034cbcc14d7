"""Receipts have two verifiers, ours and the script for everybody: whatever they are given, their verdict is one."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from rembuk.proof.cosignature import Cosigner, verifier_of
from rembuk.proof.merkle import inclusion_ranges, leaf_hash, node_hash, root_of_inclusion
from rembuk.proof.receipt import BadReceipt, proven
from rembuk.proof.signed_note import BadVerifierKey, Signature, Signer, Verifier, encoded
from rembuk.proof.tlog_proof import PROMISE, RECEIPT, extra_of, written
from rembuk.transparency.leaves import leaf

SCRIPT: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[3] / "docs/verify_receipt.py"))
AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
ORIGIN = "polmas/jatim/reports"
SIGNER = Signer(ORIGIN, b"k" * 32)
WITNESS = Cosigner("polmas/jateng/reports/witness", b"w" * 32)
KEYS: list[Verifier] = [SIGNER.verifier, WITNESS.verifier]
ROW = {
    "position": 1, "id": UUID(int=1), "stream_id": UUID(int=1001), "version": 1, "type": "ProblemReported",
    "schema_version": 1, "area": "35.78.08.1004", "data": "{}", "metadata": "{}", "recorded_at": AT,
}  # fmt: skip
LEAF = leaf("jatim", "reports", ROW).decode()
NAMES = ("ce-version", "ce-area", "ce-id", "ce-type", "ce-time", "ce-subject", "ce-position", "content-digest")

Verdict = tuple[str, set[str]] | None
"""What is proven, and whose cosignatures are good; None where nothing is."""


def head(root: bytes, size: object = 1) -> str:
    return f"{ORIGIN}\n{size}\n{encoded(root)}\n"


def promise_text(root: bytes, size: object = 1) -> str:
    return f"{ORIGIN}\npromise\n{size}\n{encoded(root)}\n"


def file(text: str, of: str = LEAF, kind: str = RECEIPT, hashes: Sequence[bytes] = (), more: bytes = b"") -> str:
    """Signed by the log: a note, and the event at the first position, whatever they say."""
    extra = extra_of(of.encode(), [SIGNER.verifier]) + more
    return written(kind, extra, 0, "".join(f"{encoded(one)}\n" for one in hashes), SIGNER.sign(text))


def receipt(of: str = LEAF) -> str:
    return file(head(leaf_hash(of.encode())), of)


def promise(of: str = LEAF) -> str:
    return file(promise_text(leaf_hash(of.encode())), of, PROMISE)


def beside(sibling: bytes) -> str:
    return file(head(node_hash(leaf_hash(LEAF.encode()), sibling), 2), hashes=[sibling])


def grown(size: int) -> str:
    """A receipt of the first of so many events."""
    hashes = [bytes(32)] * len(inclusion_ranges(0, size))
    return file(head(root_of_inclusion(0, size, leaf_hash(LEAF.encode()), hashes), size), hashes=hashes)


def without(name: str) -> str:
    return "".join(line for line in LEAF.splitlines(True) if not line.startswith(f"{name}: "))


def cosignature(seconds: int, text: str) -> Signature:
    signed = Ed25519PrivateKey.from_private_bytes(b"w" * 32).sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
    return Signature(WITNESS.verifier.name, WITNESS.verifier.key_id, seconds.to_bytes(8) + signed)


ROOT = leaf_hash(LEAF.encode())
COSIGNED = receipt() + str(WITNESS.cosign(head(ROOT), AT))
FALSE = Signature(WITNESS.verifier.name, WITNESS.verifier.key_id, bytes(72))
UNKNOWN = "\u2014 somebody AAAAAAAA\n"
LAST_SECOND = 253_402_300_799
BAD, GOOD = False, True

# signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof are C2SP's; where they leave a choice, or we sign, the form
# is the one that we write
VERDICTS = {
    "a receipt": (receipt(), GOOD),
    "a cosigned receipt": (COSIGNED, GOOD),
    "a promise": (promise(), GOOD),
    "signature of a stranger": (receipt() + UNKNOWN, GOOD),  # signed-note: MUST ignore
    "cosigned promise": (promise() + str(WITNESS.cosign(promise_text(ROOT), AT)), GOOD),
    "extension line": (file(head(ROOT) + "more\n"), GOOD),  # tlog-checkpoint
    "the longest log": (grown(2**63 - 1), GOOD),
    "the last second": (receipt() + str(cosignature(LAST_SECOND, head(ROOT))), GOOD),
    "empty area": (receipt(LEAF.replace("35.78.08.1004", "")), GOOD),
    # what anybody can do to a file
    "empty line after the keys": (file(head(ROOT), more=b"\r\n\r\n"), BAD),
    "spaces after the keys": (file(head(ROOT), more=b"  \n"), BAD),
    "what is no leaf": (file(head(ROOT)).replace("extra ", "extra AAAA"), BAD),
    "U+2028 between signatures": (COSIGNED[:-1] + "\u2028" + UNKNOWN, BAD),
    "U+0085 between signatures": (COSIGNED[:-1] + "\u0085" + UNKNOWN, BAD),
    "carriage return between lines": (receipt().replace("\n", "\r\n"), BAD),
    "false cosignature": (receipt() + str(FALSE), BAD),  # signed-note: SHOULD reject
    "false cosignature of a promise": (promise() + str(FALSE), BAD),
    "plus in a signer's name": (receipt() + "\u2014 a+b AAAAAAAA\n", BAD),
    "space in a signer's name": (receipt() + "\u2014 a b AAAAAAAA\n", BAD),
    "control character in a signer's name": (receipt() + "\u2014 a\x01b AAAAAAAA\n", BAD),
    "signature without a key id": (receipt() + "\u2014 a AAAA\n", BAD),
    "signature of no bytes": (receipt() + "\u2014 a AAAAAA==\n", BAD),
    "loose base64": (receipt() + "\u2014 a AAAAAAB=\n", BAD),
    "more than 64 kB": (receipt() + UNKNOWN * 4000, BAD),
    "no end": (receipt()[:-1], BAD),
    "empty line at the end": (receipt() + "\n", BAD),
    "index with a zero before": (receipt().replace("index 0", "index 00"), BAD),
    "index of other digits": (receipt().replace("index 0", "index \u0660"), BAD),
    "endless index": (receipt().replace("index 0", "index " + "9" * 5000), BAD),
    # what only the log or a witness could
    "promise of 01": (file(promise_text(ROOT, "01"), kind=PROMISE), BAD),
    "promise with a line more": (file(promise_text(ROOT) + "more\n", kind=PROMISE), BAD),
    "head of 01": (file(head(ROOT, "01")), BAD),
    "promise as a receipt": (file(promise_text(ROOT)), BAD),
    "head as a promise": (file(head(ROOT), kind=PROMISE), BAD),
    "sibling of 32 bytes": (beside(bytes(32)), GOOD),
    "sibling of 5 bytes": (beside(bytes(5)), BAD),
    "longer than any log": (grown(2**63), BAD),
    "26 digits": (grown(10**25), BAD),
    "the year 10000": (receipt() + str(cosignature(LAST_SECOND + 1, head(ROOT))), BAD),
    "cosignature without a time": (receipt() + str(Signature(FALSE.name, FALSE.key_id, b"1234567")), BAD),
    "leaf line without a colon": (receipt(LEAF + "x\r\n"), BAD),
    "leaf line without a name": (receipt(LEAF + ": x\r\n"), BAD),
    "leaf of another source": (receipt(LEAF.replace("/jatim/", "/bali/")), BAD),
    "two ids": (receipt(LEAF + "ce-id: other\r\n"), BAD),
    "tab in a leaf": (receipt(LEAF + "x: a\tb\r\n"), BAD),
    "zero-width space in a leaf": (receipt(LEAF + "x: a\u200bb\r\n"), BAD),
    "receipt at another position": (receipt(LEAF.replace("position: 1", "position: 2")), BAD),
    "promise at another position": (promise(LEAF.replace("position: 1", "position: 2")), GOOD),
    **{f"leaf without {name}": (receipt(without(name)), BAD) for name in NAMES},
    **{
        f"{kind.__name__}'s {name} of {number!r}": (kind(LEAF.replace(f"{name}: 1", f"{name}: {number}")), BAD)
        for name in ("position", "version")
        for number in ("x", "", " 1", "+1", "01", "1_0", "\u0661", "9" * 26)
        for kind in (receipt, promise)
    },
}


def ours(text: str, keys: Sequence[Verifier]) -> Verdict:
    try:
        found = proven(text, keys)
    except BadReceipt:
        return None
    return found.leaf, {one.witness for one in found.cosigned if one.at}


def the_scripts(text: str, keys: Sequence[Verifier]) -> Verdict:
    known = {SCRIPT["verifier"](str(key)): str(key) for key in keys}
    try:
        event, signed = SCRIPT["verify"](text, list(known))
    except (ValueError, InvalidSignature):
        return None
    lines = "".join(f"{name}: {value}\r\n" for name, value in event.items())
    return leaf_hash(lines.encode()).hex(), {known[key] for key in signed if key[2] == SCRIPT["WITNESS"]}


def verdict(text: str) -> Verdict:
    """Under all keys; with fewer or none, too, it is the same of both."""
    for keys in ([], [SIGNER.verifier], [WITNESS.verifier], KEYS):
        found = ours(text, keys)
        assert found == the_scripts(text, keys), keys
    return found


@pytest.mark.parametrize("what", VERDICTS)
def test_both_verifiers_say_the_same_and_what_the_specifications_say(what: str) -> None:
    text, good = VERDICTS[what]
    assert (verdict(text) is not None) == good


def test_a_file_vouches_for_itself_with_a_key_of_a_log_alone() -> None:
    named = Cosigner(ORIGIN, b"n" * 32)
    extra = extra_of(LEAF.encode(), [named.verifier])
    assert verdict(written(RECEIPT, extra, 0, "", f"{head(ROOT)}\n{named.cosign(head(ROOT), AT)}")) is None


@pytest.mark.parametrize(
    "key",
    [
        "", "name", "a+b+c", "name+e7701983+", "name+e7701983+AQ==", "name+e7701983+=", "\u00e9+e7701983+\u00e9",
        f"{KEYS[0]}A", str(KEYS[0])[1:], str(KEYS[0])[:-4], str(KEYS[0]).replace("+", "++", 1), f"a b{KEYS[0]}",
    ],
)  # fmt: skip
def test_both_verifiers_refuse_what_is_no_key(key: str) -> None:
    with pytest.raises(BadVerifierKey):
        verifier_of(key)
    with pytest.raises(ValueError, match=r"."):
        SCRIPT["verifier"](key)


PIECES = [
    "\n", "\n\n", "\r\n", "\r\n\r\n", "\u2014 ", UNKNOWN, str(FALSE), " ", "+", "=", ":", ": ", "AAAA", "\u2028",
    "\u0085", "index 0", "extra ", "0", "1", "promise\n", "\0", "\t", "\x7f", "\u00e9", "\u0661",
    "x: y\r\n", "ce-id: 1\r\n", "",
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, good: str) -> str:
    """A text, of which some pieces, characters and lines are others."""
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            lines = good.splitlines(True)
            lines.insert(draw(st.integers(0, len(lines))), lines.pop(draw(st.integers(0, len(lines) - 1))))
            twice = draw(st.integers(0, len(lines) - 1))
            good = "".join(lines[:twice] + lines[twice : twice + 1] * draw(st.integers(0, 2)) + lines[twice + 1 :])
        first = draw(st.integers(0, len(good)))
        end = first + draw(st.integers(0, 3))
        good = good[:first] + draw(st.sampled_from(PIECES) | st.characters(codec="utf-8")) + good[end:]
        good = good or "\n"
    return good


@pytest.mark.parametrize("good", [receipt(), COSIGNED, promise(), grown(5)], ids=range(4))
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_whatever_is_done_to_a_file_both_verifiers_say_the_same(good: str, data: st.DataObject) -> None:
    verdict(data.draw(spoilt(good)))


@pytest.mark.parametrize(("kind", "text"), [(RECEIPT, head(ROOT)), (PROMISE, promise_text(ROOT))])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_whatever_the_log_signs_both_verifiers_say_the_same(kind: str, text: str, data: st.DataObject) -> None:
    of = data.draw(spoilt(LEAF))
    verdict(file(text.replace(encoded(ROOT), encoded(leaf_hash(of.encode()))), of, kind))
    verdict(file(data.draw(spoilt(text)), kind=kind))
