"""Promises: what a service signs as it accepts an event, before a tree head can contain it.

A promise is the note

    polmas/jatim/reports
    promise
    <number of events>
    <root of the Merkle tree over their leaves, base64>

signed by the log's key: each of these events stands in the log at the position that its leaf says, and the next tree
head will contain it. The events are those that one append recorded, so that a signature is shared by all who report
at the same time; each of them gets the note with the way from his leaf to the root, in the form of
`rembuk.proof.tlog_proof`. No tree head can be taken for a promise, nor a promise for one: there the second line is a
number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rembuk.proof.merkle import HASH, leaf_hash, node_hash
from rembuk.proof.signed_note import BadNote, Signer, decoded, encoded, number
from rembuk.proof.tlog_proof import PROMISE, extra_of, written

_WORD = "promise"

Promising = Callable[[Iterable[Any]], list[str]]
"""Makes a promise for each of some rows of log.event that were recorded together."""


def promising(signer: Signer, leaf: Callable[[Any], bytes]) -> Promising:
    """Promises in the name of a service's log, whose events have such leaves."""

    signed_by = extra_of(b"", [signer.verifier])

    def promise(rows: Iterable[Any]) -> list[str]:
        leaves = [leaf(row) for row in rows]
        root, paths = _tree([leaf_hash(one) for one in leaves])
        note = signer.sign(f"{signer.verifier.name}\n{_WORD}\n{len(leaves)}\n{encoded(root)}\n")
        return [
            written(PROMISE, one + signed_by, index, path, note)
            for index, (one, path) in enumerate(zip(leaves, paths, strict=True))
        ]

    return promise


def promised(text: str) -> tuple[str, int, bytes]:
    """Origin, number of leaves and root, as the text of a promise's note says them. Raises BadNote."""
    match text.split("\n"):
        case [origin, word, size, root, ""] if word == _WORD:
            if (hashed := decoded(root)) is not None and len(hashed) == HASH:
                return origin, number(size), hashed
    raise BadNote(f"it is no promise: origin, {_WORD}, number and root, a line each")


def _tree(hashes: list[bytes]) -> tuple[bytes, list[str]]:
    """The root over at least one leaf, and for each the lines of its inclusion proof (RFC 6962, 2.1), all at once."""
    if len(hashes) == 1:
        return hashes[0], [""]
    middle = 1 << ((len(hashes) - 1).bit_length() - 1)
    left, lefts = _tree(hashes[:middle])
    right, rights = _tree(hashes[middle:])
    beside_left, beside_right = f"{encoded(right)}\n", f"{encoded(left)}\n"
    paths = [path + beside_left for path in lefts] + [path + beside_right for path in rights]
    return node_hash(left, right), paths
