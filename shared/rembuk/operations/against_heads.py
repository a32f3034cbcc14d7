"""A log against its signed tree heads: each event is the leaf that was signed, and each head goes on from the last.

With every head the hashes of its leaves are kept. They lead to the signed root, or they were altered; events lead to
them, or they were altered: so what differs is known by its position, and one altered event spoils no other's verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import asyncpg
import msgspec

from rembuk.log.standing import is_older, last_position
from rembuk.operations.steps import Wrong
from rembuk.proof.merkle import HASH, Frontier
from rembuk.proof.signed_note import BadNote, BadVerifierKey, TreeHead, Verifier, verified
from rembuk.transparency.tree import Growth, Tree, Unpublished, origin, require_cosignature

HEADS = 16
"""Read at a time; each keeps up to 640 kB of hashes."""
UNSIGNED_S = 60.0
"""How long an event may go without a head that covers it."""

_HEADS = """select size, note, leaves, unpublished from log.tree_head where size > $1 order by size limit $2"""
COSIGNATURES = 1_000
"""Read at a time."""

_NODES = "select index, hash from log.tree_node where level = $1 and index >= $2 and index <= $3"
_BEYOND = """select level, index from log.tree_node, (select coalesce(max(size), 0) as size from log.tree_head) as tree
             where level > 56 or index >= size >> level::integer order by level, index"""
_COSIGNATURES = """select size, witness, line, coalesce(note, '') as note
                   from log.tree_cosignature left join log.tree_head using (size)
                   where (size, witness) > ($1, $2) order by size, witness limit $3"""


class AgainstHeads:
    """Takes the events of a log in order. `connection` is for it alone; `verifiers` are the log's keys, old and new.
    Raises what `rembuk.postgres.database.UNREACHABLE` lists."""

    def __init__(
        self, connection: asyncpg.Connection[Any], region: str, service: str, verifiers: Sequence[Verifier]
    ) -> None:
        self._connection, self._verifiers = connection, verifiers
        self._origin, self._tree = origin(region, service), Tree(connection, region, service)
        self._waiting: list[asyncpg.Record] = []
        self._frontier = Frontier()
        self._leaves: list[bytes | None] = []  # of the events since the last head that was looked at
        self._metadatas: list[str | None] = []
        self._lost = False  # no root can be followed any more
        self.heads = self.signed = 0

    async def take(self, leaves: Sequence[bytes | None], metadatas: Sequence[str | None]) -> list[Wrong]:
        """The next events: the hash of each one's leaf and its metadata, None where there is none."""
        wrong: list[Wrong] = []
        taken = 0
        while taken < len(leaves) and (head := await self._next_head()):
            missing = head["size"] - self._frontier.size - len(self._leaves)
            self._leaves += leaves[taken : taken + missing]
            self._metadatas += metadatas[taken : taken + missing]
            taken += missing
            if taken <= len(leaves):
                wrong += await self._complete(self._waiting.pop(0))
        return wrong

    async def end(self, position: int) -> list[Wrong]:
        """After the last event, at `position`: heads that cover more than the log has by now, and events that no head
        covers."""
        if head := await self._next_head():
            if await last_position(self._connection) >= head["size"]:
                return []  # it signs what was recorded meanwhile
            lost = f"the log ends at {position}, but a head of {head['size']} events was signed: the rest is gone"
            return [Wrong("log", lost, position + 1)]
        if await is_older(self._connection, self._frontier.size + 1, UNSIGNED_S):
            return [
                Wrong("heads", "nothing was signed from here on: see the log of the worker", self._frontier.size + 1)
            ]
        return []

    async def kept(self) -> list[Wrong]:
        """What is kept beside the heads and is no key of this log, no cosignature, or no hash of the tree yet."""
        trusted = {str(one) for one in self._verifiers}
        wrong = [
            Wrong("heads", f"{key!r:.200} is kept among the keys of this log, and is none that is trusted here", 0)
            for key in await self._tree.keys()
            if key not in trusted
        ]
        wrong += [
            Wrong("heads", f"a hash is kept of subtree {index} at level {level}, beyond the tree: signing will fail", 0)
            for level, index in await self._connection.fetch(_BEYOND)
        ]
        at: tuple[int, str] = (0, "")
        while rows := await self._connection.fetch(_COSIGNATURES, *at, COSIGNATURES):
            for size, witness, line, note in rows:
                try:
                    require_cosignature(note, witness, line)
                except (BadNote, BadVerifierKey) as error:
                    said = f"what is kept as the cosignature of {witness!r:.200} is none: {error}"
                    wrong.append(Wrong("heads", said, size))
            at = rows[-1]["size"], rows[-1]["witness"]
        return wrong

    async def _next_head(self) -> asyncpg.Record | None:
        if not self._waiting:
            self._waiting = await self._connection.fetch(_HEADS, self._frontier.size, HEADS)
        return self._waiting[0] if self._waiting else None

    async def _complete(self, head: asyncpg.Record) -> list[Wrong]:
        """What is wrong with a head, its leaves, and the events that they are of."""
        leaves, self._leaves = self._leaves, []
        metadatas, self._metadatas = self._metadatas, []
        before, size = self._frontier.size, head["size"]
        span = f"positions {before + 1} to {size}"
        self.heads += 1
        try:
            signed: TreeHead | None = self._signed(head)
            wrong = []
        except BadNote as error:
            signed, wrong = None, [Wrong("heads", f"the head of {size} events is not as it was signed: {error}", size)]
        kept = [head["leaves"][at : at + HASH] for at in range(0, len(head["leaves"]), HASH)]
        growth = _grown(self._frontier, kept)
        if signed and not self._lost and (growth.frontier.size, growth.frontier.root) != (size, signed.root):
            ours = [leaf or b"" for leaf in leaves]
            by_events = _grown(self._frontier, ours)
            if by_events.frontier.root == signed.root:
                wrong.append(Wrong("heads", f"the hashes kept of {span} were altered; the events are as signed", size))
                kept, growth = ours, by_events
            else:
                self._lost = True
                wrong.append(
                    Wrong("heads", f"{span} do not lead to the signed root: events and their hashes were altered", size)
                )
        wrong += [
            Wrong("log", "is not what was signed", before + n)
            for n, (leaf, one) in enumerate(zip(leaves, kept, strict=False), 1)
            if leaf is not None and leaf != one
        ]
        if _unpublished(metadatas) not in (None, head["unpublished"]):
            wrong.append(Wrong("log", f"the fingerprints of commands in {span} were altered", size))
        wrong += await self._nodes(growth)
        self._frontier = growth.frontier
        if signed and not wrong and not self._lost:
            self.signed = size
        return wrong

    def _signed(self, head: asyncpg.Record) -> TreeHead:
        """What the log's key has signed. Raises BadNote."""
        signed = TreeHead.of(verified(head["note"], self._verifiers))
        if (signed.origin, signed.size) != (self._origin, head["size"]):
            raise BadNote(f"it is of {signed.size} events of {signed.origin}")
        return signed

    async def _nodes(self, growth: Growth) -> list[Wrong]:
        """Stored subtrees that are missing or other than what their leaves come to: proofs would be wrong."""
        wrong = []
        for level, nodes in groupby(sorted(growth.nodes), key=lambda node: node[0]):
            expected = {index: hashed for _, index, hashed in nodes}
            rows = await self._connection.fetch(_NODES, level, min(expected), max(expected))
            stored = {row["index"]: row["hash"] for row in rows}
            wrong += [
                Wrong(
                    "heads",
                    f"the hash stored of subtree {index} at level {level} is not its leaves'",
                    index + 1 << level,
                )
                for index, hashed in expected.items()
                if stored.get(index) != hashed
            ]
        return wrong


def _grown(frontier: Frontier, leaves: Sequence[bytes]) -> Growth:
    growth = Growth(frontier.copy())
    for leaf in leaves:
        growth.append(leaf)
    return growth


def _unpublished(metadatas: Sequence[str | None]) -> bytes | None:
    """None where one is missing, b"" where one is no metadata."""
    unpublished = Unpublished()
    try:
        for metadata in metadatas:
            if metadata is None:
                return None
            unpublished.append(metadata)
    except msgspec.MsgspecError:
        return b""
    return unpublished.digest()
