"""Proofs in one piece: an event's place in a Merkle tree, up to a note that is signed (c2sp.org/tlog-proof).

The extra line, which C2SP leaves to the application, holds the event's leaf (see `rembuk.transparency.leaves`) and,
after an empty line, the verifier key of who signed: so a proof says by itself what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rembuk.proof.merkle import HASH, BadProof
from rembuk.proof.signed_note import MAX_NOTE, decoded, encoded, number

RECEIPT = "c2sp.org/tlog-proof@v1"
"""The first line of a proof that ends in a signed tree head."""
PROMISE = "rembuk-promise@v1"
"""The first line of one that ends in a promise (see `rembuk.proof.promises`)."""
MAX_HASHES = 63

_END = b"\r\n"
_EXTRA = re.compile(rb"((?:[^\r\n]+\r\n)+)\r\n((?:[!-~]+\n)*)")
_INDEX = "index "


@dataclass(frozen=True)
class LogProof:
    """The `hashes` lead from a leaf at `index` to the root that the note names."""

    kind: str
    extra: bytes
    index: int
    hashes: Sequence[bytes]
    note: str

    def __str__(self) -> str:
        return written(
            self.kind, self.extra, self.index, "".join(f"{encoded(one)}\n" for one in self.hashes), self.note
        )

    @classmethod
    def of(cls, text: str) -> LogProof:
        """Raises BadProof, BadNote for what `str` of a proof cannot be."""
        head, blank, note = text.partition("\n\n")
        if not blank or len(text) > MAX_NOTE:
            raise BadProof("it is cut short, too long, or no proof at all")
        kind, *lines = head.split("\n")
        if kind not in (RECEIPT, PROMISE):
            raise BadProof(f"its first line is neither {RECEIPT} nor {PROMISE}")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = _data(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith(_INDEX):
            raise BadProof("it does not say the event's index")
        hashes = [_data(line) for line in lines[1:]]
        if len(hashes) > MAX_HASHES or any(len(one) != HASH for one in hashes):
            raise BadProof("its lines after the index are no hashes")
        return cls(kind, extra, number(lines[0].removeprefix(_INDEX)), hashes, note)


def written(kind: str, extra: bytes, index: int, hash_lines: str, note: str) -> str:
    return f"{kind}\nextra {encoded(extra)}\nindex {index}\n{hash_lines}\n{note}"


def extra_of(leaf: bytes, verifier_keys: Iterable[object]) -> bytes:
    """The extra data: a leaf, and the verifier keys to begin with."""
    return leaf + _END + "".join(f"{key}\n" for key in verifier_keys).encode()


def leaf_and_keys(extra: bytes) -> tuple[bytes, list[str]]:
    """What `extra_of` was given. Raises BadProof."""
    if not (said := _EXTRA.fullmatch(extra)):
        raise BadProof("it does not hold what it is about")
    return said[1], said[2].decode().split()


def _data(line: str) -> bytes:
    data = decoded(line)
    if data is None:
        raise BadProof("a line of it is not in base64")
    return data
