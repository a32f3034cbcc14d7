"""The Merkle tree of one service's log, in its database: the heads that were signed, the hash of any range of leaves.

Subtrees of 256, 65536, ... leaves are stored when a head covers them; what is smaller is hashed again from the log: a
proof costs some 250 events and as many stored hashes, however long the log is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from hashlib import sha256
from typing import Any

import asyncpg
import structlog

from rembuk.events.event import decode_metadata
from rembuk.log.event_log import PAGE
from rembuk.proof.cosignature import WitnessVerifier
from rembuk.proof.merkle import EMPTY_ROOT, Frontier, Range, folded, leaf_hash, node_hash, perfect_subtrees
from rembuk.proof.signed_note import BadNote, BadVerifierKey, TreeHead, parts, signature_of
from rembuk.transparency.leaves import leaf

STORED = 8
"""Every so many levels the hashes of all complete subtrees are stored."""
PAGE_EVENTS = 500

LATELY = 100
"""So many of the last cosignatures are looked at for one that is one."""

_NOTE = """select note, witness, line from log.tree_head left join log.tree_cosignature using (size)
           where size = coalesce($1, (select max(size) from log.tree_head)) order by witness"""
_COSIGNED = """select size, note, witness, line from log.tree_cosignature join log.tree_head using (size)
               order by size desc limit $1"""
_KEYS = "select verifier_key from log.tree_key order by since desc"
_NODES = "select hash from log.tree_node where level = $1 and index >= $2 and index < $3 order by index"
_ADD = "select log.add_tree_head($1, $2, $3, $4, $5, $6, $7)"

_log = structlog.get_logger(__name__)


def origin(region: str, service: str) -> str:
    """The name of a log in its tree heads, and of who signs them: `polmas/jatim/reports`."""
    return f"polmas/{region}/{service}"


class Growth:
    """A tree growing by events: what is added to the database with its next head."""

    def __init__(self, frontier: Frontier) -> None:
        self.frontier = frontier
        self.leaves = bytearray()
        self.nodes: list[tuple[int, int, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Add a leaf's hash."""
        completed = self.frontier.append(leaf)
        self.leaves += leaf
        for level in range(STORED, len(completed), STORED):
            self.nodes.append((level, (self.frontier.size >> level) - 1, completed[level]))


class Unpublished:
    """A digest of what events hold and do not publish."""

    def __init__(self) -> None:
        self._sha256 = sha256()

    def append(self, metadata: str) -> None:
        """Add an event's. Raises msgspec.MsgspecError for what is no metadata."""
        self._sha256.update(decode_metadata(metadata).fingerprint.encode() + b"\n")

    def digest(self) -> bytes:
        return self._sha256.digest()


class Tree:
    """The tree as a connection reads it. Its methods raise what `rembuk.postgres.database.UNREACHABLE` lists."""

    def __init__(self, connection: asyncpg.Connection[Any], region: str, service: str) -> None:
        self._connection = connection
        self._region, self._service = region, service

    async def latest(self) -> tuple[TreeHead, str]:
        """The last head and its note, cosignatures included, which is "" for the empty tree."""
        note = await self.note(None)
        if note is None:
            return TreeHead(origin(self._region, self._service), 0, EMPTY_ROOT), ""
        return TreeHead.of(parts(note)[0]), note

    async def note(self, size: int | None) -> str | None:
        """The signed head of a size, or else the last, with its cosignatures; None where none was signed. What is kept
        as a cosignature and is none is left out: nobody may remove it."""
        if not (rows := await self._connection.fetch(_NOTE, size)):
            return None
        return "".join([rows[0]["note"], *(row["line"] for row in rows if row["line"] is not None and _is_one(row))])

    async def cosigned(self) -> int:
        """The size of the last head that a witness has cosigned; 0 for none."""
        return next((row["size"] for row in await self._connection.fetch(_COSIGNED, LATELY) if _is_one(row)), 0)

    async def keys(self) -> list[str]:
        """The verifier keys of all who ever signed a head, the latest first."""
        return [row["verifier_key"] for row in await self._connection.fetch(_KEYS)]

    async def frontier(self, size: int) -> Frontier:
        """Where a tree of `size` leaves, some head's, goes on."""
        return Frontier(size, [await self._subtree(*one) for one in perfect_subtrees((0, size))])

    async def hashes(self, ranges: Iterable[Range]) -> list[bytes]:
        """Of ranges of leaves that a head covers."""
        return [folded([await self._subtree(*one) for one in perfect_subtrees(within)]) for within in ranges]

    async def events(self, after: int, until: int) -> AsyncIterator[tuple[bytes, asyncpg.Record]]:
        """The leaf and row of each event after a position up to another."""
        while after < until:
            rows = await self._connection.fetch(PAGE, after, min(PAGE_EVENTS, until - after))
            if not rows:
                return
            for row in rows:
                yield leaf(self._region, self._service, row), row
            after = rows[-1]["position"]

    async def add(self, note: str, growth: Growth, unpublished: Unpublished) -> None:
        """Add a head, signed of what the tree has grown to."""
        levels, indexes, hashes = zip(*growth.nodes, strict=True) if growth.nodes else ((), (), ())
        await self._connection.execute(
            _ADD, growth.frontier.size, note, bytes(growth.leaves), unpublished.digest(), levels, indexes, hashes
        )

    async def _subtree(self, level: int, index: int) -> bytes:
        stored = level - level % STORED
        first, end = index << (level - stored), (index + 1) << (level - stored)
        if stored:
            hashes = [row["hash"] for row in await self._connection.fetch(_NODES, stored, first, end)]
        else:
            hashes = [leaf_hash(one) async for one, _ in self.events(first, end)]
        while len(hashes) > 1:
            hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=False)]
        return hashes[0] if hashes else EMPTY_ROOT


def require_cosignature(note: str, witness: str, line: str) -> None:
    """Raises BadNote or BadVerifierKey where a line is not what the witness of a verifier key puts under a note."""
    verifier, signature = WitnessVerifier.of(witness), signature_of(line.removesuffix("\n"))
    if not verifier.made(signature) or str(signature) != line:
        raise BadNote("it is not by the witness that it is kept of")
    verifier.require(parts(note)[0], signature)


def _is_one(row: asyncpg.Record) -> bool:
    try:
        require_cosignature(row["note"], row["witness"], row["line"])
    except (BadNote, BadVerifierKey) as error:
        _log.warning("a cosignature is left out: run rembuk verify", witness=row["witness"], why=str(error))
        return False
    return True
