"""The Merkle tree hash of RFC 6962 (section 2.1), and proofs about it, in terms of ranges of leaves.

Leaf n is [n, n + 1); every node a proof names is a range. Whoever has the perfect subtrees that a range falls into has
its hash: so a tree can be kept in pieces (see `rembuk.transparency.tree`), and proofs are made without holding it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

HASH = 32
EMPTY_ROOT = sha256().digest()

Range = tuple[int, int]
"""Leaves from the first up to, and without, the second."""


class BadProof(ValueError):
    """The proof does not lead from what it is about to the root."""


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def folded(hashes: Sequence[bytes]) -> bytes:
    """The hash of a range from those of the perfect subtrees it falls into, left to right; of none, the empty root."""
    if not hashes:
        return EMPTY_ROOT
    *rest, root = hashes
    for left in reversed(rest):
        root = node_hash(left, root)
    return root


def perfect_subtrees(within: Range) -> list[tuple[int, int]]:
    """(level, index), left to right: the subtree [index * 2^level, (index + 1) * 2^level). `within` begins where a
    subtree of its size may: all ranges of RFC 6962 do."""
    first, end = within
    found = []
    while first < end:
        level = (end - first).bit_length() - 1
        found.append((level, first >> level))
        first += 1 << level
    return found


class Frontier:
    """The perfect subtrees of a tree that grows at its right edge: all that is needed to go on, and for its root."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """A tree of `size` leaves with the hashes of `perfect_subtrees((0, size))`."""
        self.size = size
        self._hashes = list(hashes)

    @property
    def root(self) -> bytes:
        return folded(self._hashes)

    def copy(self) -> Frontier:
        return Frontier(self.size, self._hashes)

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf's hash. The subtrees it completes, by level: the leaf's own hash first."""
        completed, size = [leaf], self.size
        while size & 1:
            completed.append(node_hash(self._hashes.pop(), completed[-1]))
            size >>= 1
        self._hashes.append(completed[-1])
        self.size += 1
        return completed


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """What proves that leaf `index` is in a tree of `size` leaves: PATH of RFC 6962, 2.1.1, its sibling first."""
    ranges: list[Range] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _left_leaves(end - first)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """What proves that a tree of `old` leaves (0 to `new`) is how one of `new` began: PROOF of RFC 6962, 2.1.2."""
    if old in (0, new):
        return []
    ranges: list[Range] = []
    first, end, whole = 0, new, True
    while end > old:
        middle = first + _left_leaves(end - first)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((first, middle))
            first, whole = middle, False
    return [*([] if whole else [(first, end)]), *ranges[::-1]]


def root_of_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that a leaf's hash and its proof lead to (RFC 9162, 2.1.3.2); raises BadProof for a wrong length."""
    if not 0 <= index < size:
        raise BadProof(f"a tree of {size} leaves has no leaf {index}")
    if len(proof) != len(inclusion_ranges(index, size)):
        raise BadProof(
            f"a proof of leaf {index} of {size} has {len(inclusion_ranges(index, size))} hashes, not {len(proof)}"
        )
    at, last, root = index, size - 1, leaf
    for sibling in proof:
        if at & 1 or at == last:
            root = node_hash(sibling, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        at, last = at >> 1, last >> 1
    return root


def require_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises BadProof where `proof` does not show that the tree of `old` leaves is how that of `new` leaves began
    (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= new:
        raise BadProof(f"a tree of {new} leaves did not begin with {old}")
    _require_length(proof, consistency_ranges(old, new))
    if old == 0:
        consistent = old_root == EMPTY_ROOT
    elif old == new:
        consistent = old_root == new_root
    else:
        consistent = _roots(old, new, old_root, proof) == (old_root, new_root)
    if not consistent:
        raise BadProof(f"the tree of {old} leaves is not how the one of {new} began")


def _roots(old: int, new: int, old_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Both roots, as the proof has them."""
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = hashes[0]
    for sibling in hashes[1:]:
        if at & 1 or at == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        at, last = at >> 1, last >> 1
    return before, after


def _require_length(proof: Sequence[bytes], ranges: Sequence[Range]) -> None:
    if len(proof) != len(ranges):
        raise BadProof(f"such a proof has {len(ranges)} hashes, not {len(proof)}")


def _left_leaves(leaves: int) -> int:
    """The largest power of two below a number above 1."""
    return 1 << ((leaves - 1).bit_length() - 1)
