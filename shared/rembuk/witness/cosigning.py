"""Having witnesses vouch for our log: each new tree head is shown to those that REMBUK_WITNESSES names, and their
cosignatures are kept beside it. One that is away stops nothing, keeps no other waiting, and is asked again with the
latest head."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import httpx
import structlog

from rembuk.events.visible import visible
from rembuk.postgres.database import AS_LONG_AS_IT_TAKES_S, KeptConnection
from rembuk.proof.cosignature import WitnessVerifier, cosigned_at
from rembuk.proof.merkle import consistency_ranges
from rembuk.proof.signed_note import MAX_NOTE, BadNote, Signature, TreeHead, encoded, parts, signature_of
from rembuk.settings import WITNESSES, Settings
from rembuk.transparency.tree import Tree
from rembuk.witness.witness_settings import BadWitnessSetting, read_lines, verifier_in

ANSWER_S = 10.0
"""How long a witness may take, for all that it says."""
ROUND_S = 1.0
"""How long the others wait for one before it is left to its answer."""
MOST_SAID = 600
"""Characters of why it has not cosigned."""

_LOCK = "select pg_advisory_lock(hashtext('rembuk cosigning'))"
_ASK = "insert into witness (verifier_key) values ($1) on conflict do nothing"
_FORGET = "delete from witness where verifier_key <> all($1)"
_BEHIND = """select verifier_key, size from witness
             where not exists (select 1 from log.tree_cosignature where size = $1 and witness = verifier_key)"""
_ADD = "select log.add_tree_cosignature($1, $2, $3, $4)"
_KNOWN = "update witness set size = $2, cosigned_at = $3, failing_since = null, failure = '' where verifier_key = $1"
_OTHER = "update witness set size = $2 where verifier_key = $1"
_FAILED = "update witness set failing_since = coalesce(failing_since, now()), failure = $2 where verifier_key = $1"

_log = structlog.get_logger(__name__)


class _Refused(Exception):
    """Why a witness has not cosigned."""


class _Asked(NamedTuple):
    """Who was asked, by verifier key, with a proof from which size on, to cosign which head: its note."""

    key: str
    old: int
    head: TreeHead
    note: str


class _Other(Exception):
    """It has cosigned another size than we thought, or another tree."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Cosigning:
    """Asks the witnesses of one service's log: their submission prefixes by verifier key. Only the holder of the log's
    advisory lock does; others wait in line."""

    def __init__(self, log_url: str, region: str, service: str, prefixes: dict[str, str], pause_s: float) -> None:
        self._region, self._service, self._pause_s = region, service, pause_s
        self._prefixes = prefixes
        self._verifiers = {key: WitnessVerifier.of(key) for key in prefixes}
        self._connection = KeptConnection(log_url, f"{service} cosigning", self._lead)
        self._asked: dict[asyncio.Task[str], _Asked] = {}

    @classmethod
    def told(cls, settings: Settings, pause_s: float) -> Cosigning:
        """By REMBUK_WITNESSES, the path of a file: a witness a line, its submission prefix and its verifier key.
        Raises BadWitnessSetting."""
        prefixes = {}
        named = settings.witnessing.witnesses
        for line in read_lines(WITNESSES, named) if named else ():
            prefix, _, key = line.partition(" ")
            if urlsplit(prefix).scheme not in ("http", "https"):
                raise BadWitnessSetting(f"{WITNESSES}: {line!r:.200} is not an http(s) URL and a verifier key")
            prefixes[str(verifier_in(WITNESSES, key, WitnessVerifier))] = prefix.rstrip("/")
        return cls(settings.database_url, settings.region, settings.service, prefixes, pause_s)

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            await self._connection.keep_at(self.ask, self._pause_s)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the lock, and of whoever has not answered yet."""
        for task in self._asked:
            task.cancel()
        self._asked.clear()
        self._connection.drop()

    async def ask(self) -> None:
        """Show the last head to all who have not cosigned it, and are not about to answer; a second time to those that
        know another one than we thought. Raises what `UNREACHABLE` lists."""
        connection = await self._connection.get()
        tree = Tree(connection, self._region, self._service)
        head, note = await tree.latest()
        for _ in range(2) if head.size else ():
            behind = await connection.fetch(_BEHIND, head.size)
            answering = {asked.key for asked in self._asked.values()}
            for row in behind:
                if (key := row["verifier_key"]) not in answering:
                    asked = _Asked(key, min(row["size"], head.size), head, note)
                    body = await _request(tree, asked.old, head, note)
                    self._asked[asyncio.create_task(_post(self._prefixes[key], body))] = asked
            if not self._asked:
                return
            answered, _ = await asyncio.wait(self._asked, timeout=ROUND_S)
            again = [await self._take(connection, self._asked.pop(task), task) for task in answered]
            if not any(again):
                return

    async def _take(self, connection: asyncpg.Connection[Any], asked: _Asked, answer: asyncio.Task[str]) -> bool:
        """Keep what a witness answered; whether it is to be asked again at once."""
        key, old, head = asked.key, asked.old, asked.head
        try:
            line = self._cosignature(key, parts(asked.note)[0], answer.result())
            at = cosigned_at(line)
            async with connection.transaction():
                await connection.execute(_ADD, head.size, key, str(line), at)
                await connection.execute(_KNOWN, key, head.size, at)
        except _Other as other:
            if other.size < head.size or old < other.size == head.size:
                await connection.execute(_OTHER, key, other.size)
                return True
            why = (
                "another tree than ours" if other.size == head.size else "more than we have: what we had signed is lost"
            )
            await self._failed(connection, key, f"it has cosigned {other.size} events, {why} ({head.size} events)")
        except TimeoutError:
            await self._failed(connection, key, f"it has not answered within {ANSWER_S:.0f} s")
        except httpx.ConnectError as error:
            await self._failed(connection, key, f"it cannot be reached: {error}")
        except (_Refused, BadNote, ValueError, httpx.HTTPError) as error:
            await self._failed(connection, key, str(error) or repr(error))
        return False

    def _cosignature(self, key: str, text: str, answer: str) -> Signature:
        verifier = self._verifiers[key]
        for line in answer.split("\n"):
            signature = signature_of(line)
            if verifier.made(signature):
                verifier.require(text, signature)
                return signature
        raise BadNote("its answer has no cosignature by the key that is known of it")

    async def _failed(self, connection: asyncpg.Connection[Any], key: str, why: str) -> None:
        """A stranger has a say in why: no character of it is hidden, which PostgreSQL could not keep either."""
        why = visible(why)[:MOST_SAID]
        _log.warning("a witness does not cosign", witness=key, why=why)
        await connection.execute(_FAILED, key, why)

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute(_LOCK, timeout=AS_LONG_AS_IT_TAKES_S)
        await connection.execute(_FORGET, list(self._prefixes))
        for key in self._prefixes:
            await connection.execute(_ASK, key)


async def _request(tree: Tree, old: int, head: TreeHead, note: str) -> bytes:
    hashes = [encoded(one) for one in await tree.hashes(consistency_ranges(old, head.size))]
    return "\n".join([f"old {old}", *hashes, "", note]).encode()


async def _post(prefix: str, body: bytes) -> str:
    """The cosignatures. Raises _Other, _Refused, ValueError, TimeoutError, httpx.HTTPError."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "Accept-Encoding": "identity"}
    async with (
        asyncio.timeout(ANSWER_S),
        httpx.AsyncClient(verify=_tls(), timeout=ANSWER_S) as client,
        client.stream("POST", f"{prefix}/add-checkpoint", content=body, headers=headers) as answer,
    ):
        said = b""
        async for part in answer.aiter_raw():
            said += part
            if len(said) >= MAX_NOTE:
                break
    if answer.status_code == 200:
        return said[:MAX_NOTE].decode()
    text = said[:MAX_NOTE].decode(errors="replace")
    if answer.status_code == 409 and text.strip().isdecimal():
        raise _Other(int(text))
    raise _Refused(f"{answer.status_code} {text[:500]!r}")


@cache
def _tls() -> ssl.SSLContext:
    """Made once: it takes as long as cosigning itself."""
    return ssl.create_default_context()
