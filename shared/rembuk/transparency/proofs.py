"""What anybody may ask of a service's log: its signed tree heads, who signs them, and proofs about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from rembuk.events.decider import Refused
from rembuk.log.standing import last_position
from rembuk.postgres.database import ANSWER_S, UNREACHABLE, Pool, Unavailable, borrowed, open_pool
from rembuk.proof.merkle import consistency_ranges, inclusion_ranges, leaf_hash, root_of_inclusion
from rembuk.proof.signed_note import BadVerifierKey, TreeHead, Verifier, parts
from rembuk.proof.tlog_proof import RECEIPT, LogProof, extra_of
from rembuk.settings import Settings
from rembuk.transparency.log_key import signers
from rembuk.transparency.tree import Tree

_FIRST = "select position from log.event where stream_id = $1 and version = 1"

_log = structlog.get_logger(__name__)


class NotYet(Exception):
    """The event is in the log, and no tree head contains it yet: that takes some seconds."""


class Unproven(Exception):
    """The log, or what is kept of its tree, is not what was signed: a proof of it would be false."""


class Proofs:
    """Reads the tree of one service. Its methods raise Unavailable, and Refused for what there is not."""

    def __init__(self, settings: Settings) -> None:
        """Raises BadKey."""
        self.signer, *older = signers(settings)
        self._verifiers = [self.signer.verifier, *(one.verifier for one in older)]
        self._settings = settings
        self._pool: Pool

    async def start(self) -> None:
        self._pool = open_pool(self._settings.database_url, f"{self._settings.name} proofs", 2)

    async def stop(self) -> None:
        await self._pool.close()

    async def checkpoint(self, size: int | None) -> str:
        """The last signed head, or that of a size, with the cosignatures of witnesses."""
        async with self._tree() as (tree, _):
            return await _signed(tree, size)

    async def keys(self) -> list[str]:
        """The verifier keys of all who ever signed a head of this log, the present one first."""
        async with self._tree() as (tree, _):
            return [str(one) for one in await self._known(tree)]

    async def consistency(self, old: int, new: int) -> list[bytes]:
        """What proves that the tree of the signed head of size `old` is how that of size `new` began."""
        if old > new:
            raise Refused("invalid-sizes", "a tree does not begin as a larger one", field="old")
        async with self._tree() as (tree, _):
            for size in (old, new):
                await _signed(tree, size)
            return await tree.hashes(consistency_ranges(old, new))

    async def receipt(self, position: int) -> str:
        """The proof of an event, by the last head that a witness has cosigned, or else the last one. Raises NotYet,
        and Unproven."""
        async with self._tree() as (tree, connection):
            size = await tree.cosigned()
            if size < position:
                size = (await tree.latest())[0].size
            if size < position:
                if position <= await last_position(connection):
                    raise NotYet(f"the event at {position} is recorded; the next tree head will contain it")
                raise Refused("unknown-position", f"the log has no event at {position} yet")
            return str(await self._proof(tree, position - 1, await _signed(tree, size)))

    async def receipt_of(self, stream_id: UUID, rule: str) -> tuple[int, str]:
        """The position of an aggregate's first event, and its proof as `receipt` gives it; refused under `rule` where
        there is none."""
        async with self._tree() as (_, connection):
            position = await connection.fetchval(_FIRST, stream_id)
        if position is None:
            raise Refused(rule)
        return position, await self.receipt(position)

    async def _proof(self, tree: Tree, index: int, note: str) -> LogProof:
        text, signatures = parts(note)
        head = TreeHead.of(text)
        [leaf] = [leaf async for leaf, _ in tree.events(index, index + 1)]
        hashes = await tree.hashes(inclusion_ranges(index, head.size))
        if root_of_inclusion(index, head.size, leaf_hash(leaf), hashes) != head.root:
            raise Unproven(f"the event at {index + 1} is not in the tree that was signed: run rembuk verify")
        keys = [one for one in await self._known(tree) if any(map(one.made, signatures))]
        return LogProof(RECEIPT, extra_of(leaf, keys), index, hashes, note)

    async def _known(self, tree: Tree) -> list[Verifier]:
        """Our own, and those kept with the tree, but for what is no key of this log."""
        known = {str(one): one for one in self._verifiers}
        for key in await tree.keys():
            try:
                one = Verifier.of(key)
            except BadVerifierKey as error:
                _log.warning("a key is left out: run rembuk verify", why=str(error))
                continue
            if one.name == self.signer.verifier.name:
                known.setdefault(str(one), one)
        return list(known.values())

    @asynccontextmanager
    async def _tree(self) -> AsyncIterator[tuple[Tree, asyncpg.Connection[Any]]]:
        try:
            async with asyncio.timeout(ANSWER_S), borrowed(self._pool) as connection:
                yield Tree(connection, self._settings.region, self._settings.service), connection
        except UNREACHABLE as error:
            raise Unavailable(f"the log cannot be read: {error}") from error


async def _signed(tree: Tree, size: int | None) -> str:
    note = await tree.note(size)
    if note is None:
        raise Refused("unknown-checkpoint", f"no tree head of size {size} was signed" if size else "none is signed yet")
    return note
