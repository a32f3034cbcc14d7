"""The Merkle tree: what RFC 6962 defines by recursion, ours does by ranges and steps."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rembuk.proof.merkle import (
    EMPTY_ROOT,
    BadProof,
    Frontier,
    Range,
    consistency_ranges,
    folded,
    inclusion_ranges,
    leaf_hash,
    perfect_subtrees,
    require_consistent,
    root_of_inclusion,
)

SIZES = st.integers(1, 300)
KNOWN_LEAVES = [bytes.fromhex(leaf) for leaf in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
KNOWN_ROOTS = [  # of the first 1, 2, ... of them: the vectors of the Certificate Transparency project
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH as RFC 6962, 2.1 writes it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = next(2**n for n in range(len(leaves)) if 2**n < len(leaves) <= 2 ** (n + 1))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def leaves(size: int) -> list[bytes]:
    return [b"leaf %d" % n for n in range(size)]


def root(size: int) -> bytes:
    return mth(leaves(size))


def proof(ranges: Sequence[Range], size: int) -> list[bytes]:
    return [mth(leaves(size)[first:end]) for first, end in ranges]


def grown(size: int) -> Frontier:
    frontier = Frontier()
    for leaf in leaves(size):
        frontier.append(leaf_hash(leaf))
    return frontier


@pytest.mark.parametrize("size", range(1, 9))
def test_the_root_is_the_one_that_certificate_transparency_knows(size: int) -> None:
    frontier = Frontier()
    for leaf in KNOWN_LEAVES[:size]:
        frontier.append(leaf_hash(leaf))
    assert frontier.root.hex() == KNOWN_ROOTS[size - 1]


@given(st.integers(0, 300))
def test_a_frontier_has_the_root_of_all_that_was_appended(size: int) -> None:
    assert grown(size).root == root(size)
    assert Frontier().root == EMPTY_ROOT


@given(SIZES, SIZES)
def test_a_frontier_goes_on_from_the_perfect_subtrees_alone(old: int, more: int) -> None:
    def subtree(level: int, index: int) -> bytes:
        return mth(leaves(old)[index << level : (index + 1) << level])

    frontier = Frontier(old, [subtree(*one) for one in perfect_subtrees((0, old))])
    assert frontier.root == root(old)
    for leaf in leaves(old + more)[old:]:
        frontier.append(leaf_hash(leaf))
    assert frontier.root == root(old + more)


@given(SIZES)
def test_appending_tells_the_subtrees_that_are_complete_then(size: int) -> None:
    frontier = grown(size - 1)
    for level, told in enumerate(frontier.append(leaf_hash(leaves(size)[-1]))):
        assert told == mth(leaves(size)[size - (1 << level) :])


@given(SIZES, st.data())
def test_a_leaf_and_its_proof_lead_to_the_root(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = proof(inclusion_ranges(index, size), size)
    assert root_of_inclusion(index, size, leaf_hash(leaves(size)[index]), hashes) == root(size)


@given(SIZES, st.data())
def test_the_range_of_a_proof_is_folded_from_perfect_subtrees(size: int, data: st.DataObject) -> None:
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    for first, end in inclusion_ranges(index, size) + consistency_ranges(old, size):
        subtrees = [
            mth(leaves(size)[number << level : (number + 1) << level])
            for level, number in perfect_subtrees((first, end))
        ]
        assert folded(subtrees) == mth(leaves(size)[first:end])


@given(SIZES, st.data())
def test_another_leaf_another_place_or_another_hash_leads_elsewhere(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = proof(inclusion_ranges(index, size), size)
    assert root_of_inclusion(index, size, leaf_hash(b"another"), hashes) != root(size)
    if hashes:
        at = data.draw(st.integers(0, len(hashes) - 1))
        spoilt = [*hashes[:at], bytes(32), *hashes[at + 1 :]]
        assert root_of_inclusion(index, size, leaf_hash(leaves(size)[index]), spoilt) != root(size)
    for wrong in ([*hashes, bytes(32)], hashes[:-1] if hashes else [bytes(32)]):
        with pytest.raises(BadProof):
            root_of_inclusion(index, size, leaf_hash(leaves(size)[index]), wrong)
    with pytest.raises(BadProof):
        root_of_inclusion(size, size, leaf_hash(b""), hashes)


@given(SIZES, st.data())
def test_what_a_tree_began_as_is_proven(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, new))
    hashes = proof(consistency_ranges(old, new), new)
    require_consistent(old, root(old), new, root(new), hashes)


@given(SIZES, st.data())
def test_what_it_did_not_begin_as_is_refused(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, new))
    hashes = proof(consistency_ranges(old, new), new)
    with pytest.raises(BadProof):
        require_consistent(old, bytes(32), new, root(new), hashes)
    if old:
        with pytest.raises(BadProof):
            require_consistent(old, root(old), new, bytes(32), hashes)
    for at in range(len(hashes)):
        with pytest.raises(BadProof):
            require_consistent(old, root(old), new, root(new), [*hashes[:at], bytes(32), *hashes[at + 1 :]])
    with pytest.raises(BadProof):
        require_consistent(old, root(old), new, root(new), [*hashes, bytes(32)])
    with pytest.raises(BadProof):
        require_consistent(new + 1, root(new + 1), new, root(new), hashes)
