"""Signed notes: what C2SP shows is read as it means it, and nothing is believed that a trusted key has not signed."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rembuk.proof.signed_note import BadNote, BadVerifierKey, Signer, TreeHead, Verifier, parts, verified

# the examples of Go's sumdb/note, whose format C2SP describes
PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

OURS = Signer("polmas/jatim/reports", bytes(32))
HEAD = TreeHead("polmas/jatim/reports", 7, bytes(range(32)))
NOTE = OURS.sign(HEAD.text)
TRUSTED = (OURS.verifier,)
ROOT = "A" * 43 + "="


def test_a_note_of_another_implementation_is_read() -> None:
    peter = Verifier.of(PETER_KEY)
    assert str(peter) == PETER_KEY
    assert verified(PETER_NOTE, [peter]).endswith("problem is.\n")


def test_what_we_sign_is_what_is_read() -> None:
    assert TreeHead.of(verified(NOTE, TRUSTED)) == HEAD
    assert verified(NOTE, [Verifier.of(str(OURS.verifier))]) == HEAD.text


def test_signatures_of_others_are_passed_over() -> None:
    witness = Signer("witness.example/w1", secrets.token_bytes(32))
    _, line = witness.sign(HEAD.text).split("\n\n")
    assert verified(NOTE + line, TRUSTED) == HEAD.text


def test_another_key_of_our_name_is_not_ours() -> None:
    with pytest.raises(BadNote, match=r"no key that is trusted here has signed it, but polmas/jatim/reports\+"):
        verified(Signer(OURS.verifier.name, b"x" * 32).sign(HEAD.text), TRUSTED)


def test_one_false_signature_of_a_known_key_spoils_the_note() -> None:
    other = TreeHead(HEAD.origin, 8, HEAD.root)
    _, stolen = OURS.sign(other.text).split("\n\n")
    for lines in (stolen, NOTE.split("\n\n")[1] + stolen):
        with pytest.raises(BadNote, match="is not of this text"):
            verified(f"{HEAD.text}\n{lines}", TRUSTED)


@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_no_bit_of_a_note_can_change(bit: int) -> None:
    changed = bytearray(NOTE.encode())
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((BadNote, UnicodeDecodeError)):
        verified(bytes(changed).decode(), TRUSTED)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        verified(text, TRUSTED)


@pytest.mark.parametrize(
    "note", ["", "\n", "text\n", "text\n\n", "text\n\nno signature\n", NOTE[:-1], NOTE + "x" * 70_000, NOTE + "\0\n"],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(BadNote):
        parts(note)


@pytest.mark.parametrize(
    "text",
    [
        "o\n1\n", "o\n01\nAAAA\n", f"o\n-1\n{ROOT}\n", f"\n1\n{ROOT}\n", "o\n1\nAAAA\n", f"o\n{2**63}\n{ROOT}\n",
        f"o\n{'9' * 5000}\n{ROOT}\n", "o\n1\n\u00e9\n",
    ],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_tree_head_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        TreeHead.of(text)


def test_extension_lines_of_a_tree_head_are_signed_but_not_ours() -> None:
    note = OURS.sign(HEAD.text + "extension\n")
    assert TreeHead.of(verified(note, TRUSTED)) == HEAD


@pytest.mark.parametrize(
    "key", ["", "name", PETER_KEY[:-1], PETER_KEY.replace("c7", "c8"), PETER_KEY.replace("Peter", "Paul"), "a+b+c"],
    ids=range(6),
)  # fmt: skip
def test_what_is_no_verifier_key_is_refused(key: str) -> None:
    with pytest.raises(BadVerifierKey):
        Verifier.of(key)


@pytest.mark.parametrize("name", ["", "with space", "with+plus", "with\nline"])
def test_a_signer_has_a_name_that_a_line_can_hold(name: str) -> None:
    with pytest.raises(ValueError):
        Signer(name, bytes(32))
