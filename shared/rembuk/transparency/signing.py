"""Signing the log: every few seconds in which it has grown, its tree head, once it is sure to go on from the last."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import structlog

from rembuk.log.standing import last_position
from rembuk.postgres.database import AS_LONG_AS_IT_TAKES_S, KeptConnection
from rembuk.proof.merkle import leaf_hash
from rembuk.proof.signed_note import Signer, TreeHead
from rembuk.transparency.tree import Growth, Tree, Unpublished, origin

PAUSE_S = 5.0
AT_ONCE = 20_000
"""Events that one head takes in at most, where many are waiting."""
HALTED_S = 60.0

_LOCK = "select pg_advisory_lock(hashtext('rembuk signer'))"
_ADD_KEY = "select log.add_tree_key($1)"

_log = structlog.get_logger(__name__)


class Altered(Exception):
    """The log is not what the last head was signed of. Nothing is signed until somebody has looked."""


class Signing:
    """Signs the tree heads of one service. Only the holder of the log's advisory lock does; others wait in line."""

    def __init__(self, log_url: str, region: str, service: str, signer: Signer, pause_s: float = PAUSE_S) -> None:
        self._region, self._service, self._signer, self._pause_s = region, service, signer, pause_s
        self._connection = KeptConnection(log_url, f"{service} signer", self._lead)

    async def run(self) -> None:
        """Sign until cancelled."""
        await self._connection.keep_at(self._sign_all, self._pause_s)

    def close(self) -> None:
        """Let go of the lock."""
        self._connection.drop()

    async def _sign_all(self) -> None:
        try:
            while await self.sign():
                pass
        except Altered as altered:
            _log.critical("signing halted", why=str(altered))
            await asyncio.sleep(HALTED_S)

    async def sign(self) -> TreeHead | None:
        """The next head; None where the log has not grown. Raises Altered, or what `UNREACHABLE` lists."""
        connection = await self._connection.get()
        tree = Tree(connection, self._region, self._service)
        last, _ = await tree.latest()
        until = min(await last_position(connection), last.size + AT_ONCE)
        if until <= last.size:
            return None
        growth, unpublished = Growth(await tree.frontier(last.size)), Unpublished()
        if growth.frontier.root != last.root:
            raise Altered(f"the first {last.size} events are not what was signed: run rembuk verify {self._service}")
        async for leaf, row in tree.events(last.size, until):
            growth.append(leaf_hash(leaf))
            unpublished.append(row["metadata"])
        head = TreeHead(origin(self._region, self._service), growth.frontier.size, growth.frontier.root)
        await tree.add(self._signer.sign(head.text), growth, unpublished)
        return head

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute(_LOCK, timeout=AS_LONG_AS_IT_TAKES_S)
        await connection.execute(_ADD_KEY, str(self._signer.verifier))
