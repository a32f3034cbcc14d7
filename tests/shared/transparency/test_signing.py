"""The signed tree over a log: heads that go on from one another, and proofs from stored pieces."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from rembuk.broker.streams import sequence
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.proof.merkle import (
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    require_consistent,
    root_of_inclusion,
)
from rembuk.proof.signed_note import Signer, TreeHead, verified
from rembuk.testing.tallies import (
    SERVICE,
    TallyRegion,
    background,
    count_up,
    eventually,
    messages,
)
from rembuk.transparency import signing
from rembuk.transparency.leaves import leaf, published_leaf
from rembuk.transparency.signing import Altered, Signing
from rembuk.transparency.tree import Tree, origin
from rembuk_cli.region.unsigned import HALTED_S, unsigned


@pytest.fixture
async def connection(region: TallyRegion) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(region.url)
    yield connection
    await connection.close()


@pytest.fixture
def tree(connection: asyncpg.Connection[Any], region: TallyRegion) -> Tree:
    return Tree(connection, region.name, SERVICE)


@pytest.fixture
def signer(region: TallyRegion) -> Signer:
    return Signer(origin(region.name, SERVICE), secrets.token_bytes(32))


@pytest.fixture
def signs(region: TallyRegion, signer: Signer) -> Iterator[Signing]:
    signs = Signing(region.url, region.name, SERVICE, signer, 0.01)
    yield signs
    signs.close()


async def leaves(tree: Tree, until: int = 10**6) -> list[bytes]:
    return [one async for one, _ in tree.events(0, until)]


async def altered(region: TallyRegion, how: str) -> None:
    owner = await asyncpg.connect(region.owner_url)
    await owner.execute(f"alter table log.event disable trigger append_only; {how}")
    await owner.close()


async def test_a_head_is_signed_when_the_log_has_grown_and_only_then(
    log: EventLog, tree: Tree, signs: Signing, signer: Signer
) -> None:
    assert await signs.sign() is None
    assert (await tree.latest())[0].size == 0
    await count_up(log, 10)
    head = await signs.sign()
    assert head is not None
    assert await signs.sign() is None
    latest, note = await tree.latest()
    assert (latest, TreeHead.of(verified(note, [signer.verifier]))) == (head, head)
    frontier = Frontier()
    for one in await leaves(tree):
        frontier.append(leaf_hash(one))
    assert (head.size, head.root) == (10, frontier.root)


async def test_every_event_is_proven_by_every_head_and_every_head_by_the_next(
    log: EventLog, tree: Tree, signs: Signing, connection: asyncpg.Connection[Any]
) -> None:
    heads = []
    for events in (1, 2, 252, 1, 1, 300, 1000):
        await count_up(log, events)
        heads.append(await signs.sign())
    assert await connection.fetchval("select count(*) from log.tree_node") == 1557 // 256
    hashes = [leaf_hash(one) for one in await leaves(tree)]
    known = [head for head in heads if head is not None]
    assert [head.size for head in known] == [1, 3, 255, 256, 257, 557, 1557]
    for head in known:
        for index in sorted({0, 1, 254, 255, 256, 511, 512, head.size - 1}):
            if index < head.size:
                proof = await tree.hashes(inclusion_ranges(index, head.size))
                assert root_of_inclusion(index, head.size, hashes[index], proof) == head.root
    for old, new in pairwise(known):
        proof = await tree.hashes(consistency_ranges(old.size, new.size))
        require_consistent(old.size, old.root, new.size, new.root, proof)


async def test_what_waits_is_signed_in_steps(
    log: EventLog, tree: Tree, signs: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "AT_ONCE", 100)
    await count_up(log, 250)
    async with background(signs.run()):
        await eventually(lambda: _size(tree, 250))
    assert await tree.note(100) is not None
    assert await tree.note(101) is None


async def _size(tree: Tree, size: int) -> None:
    assert (await tree.latest())[0].size == size


async def test_a_log_that_was_altered_is_not_signed_until_it_is_put_right_and_status_says_so(
    region: TallyRegion, log: EventLog, tree: Tree, signs: Signing, connection: asyncpg.Connection[Any]
) -> None:
    await count_up(log, 300)
    assert await signs.sign() is not None
    area = await connection.fetchval("select area from log.event where position = 299")
    await altered(region, "update log.event set area = '35.79' where position = 299")
    await count_up(log, 1)
    with pytest.raises(Altered, match="the first 300 events are not what was signed"):
        await signs.sign()
    assert (await tree.latest())[0].size == 300
    [why] = await unsigned(connection, region.name, SERVICE, 300, HALTED_S + 1, False)
    assert why.startswith(f"SIGNING HALTED: {SERVICE}: its first 300 events are not what was signed")
    await altered(region, f"update log.event set area = '{area}' where position = 299")
    assert await unsigned(connection, region.name, SERVICE, 300, HALTED_S + 1, False) == []
    assert await signs.sign() is not None


async def test_no_head_is_changed_and_none_is_added_beside_the_last(
    region: TallyRegion, log: EventLog, signs: Signing, connection: asyncpg.Connection[Any]
) -> None:
    await count_up(log, 300)
    await signs.sign()
    owner = await asyncpg.connect(region.owner_url)
    for table in ("tree_head", "tree_node"):
        for change in (f"delete from log.{table}", f"truncate log.{table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.execute(change)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"insert into log.{table} default values")
    await owner.close()
    add = "select log.add_tree_head($1, '', $2, $3, '{}', '{}', '{}')"
    for size, leaves in ((300, 0), (299, -1), (301, 1), (300, 1)):
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(add, size, bytes(32 * max(leaves, 0)), bytes(32))


async def test_whoever_has_the_stream_can_compute_the_tree(
    region: TallyRegion, log: EventLog, tree: Tree, broker: Client
) -> None:
    await count_up(log, 40)
    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        await eventually(lambda: _level(broker, region), retry=(AssertionError, NotFoundError))
    held = await messages(broker, region.stream)
    assert [published_leaf(message) for message in held] == await leaves(tree)
    assert [sequence(message) for message in held] == list(range(1, 41))


async def _level(broker: Client, region: TallyRegion) -> None:
    assert (await broker.jetstream().stream_info(region.stream)).state.last_seq == 40


async def test_a_leaf_is_text_that_says_all_but_the_data(
    log: EventLog, region: TallyRegion, connection: asyncpg.Connection[Any]
) -> None:
    await count_up(log, 1)
    row = await connection.fetchrow("select * from log.event")
    assert row is not None
    lines = leaf(region.name, SERVICE, row).decode().split("\r\n")
    assert lines[:2] == [f"Nats-Msg-Id: {row['id']}", f"ce-id: {row['id']}"]
    assert f"ce-time: {row['recorded_at'].isoformat()}" in lines
    digest = base64.b64encode(sha256(b'{"area":"35.78"}').digest()).decode()
    assert lines[-2:] == [f"content-digest: sha-256=:{digest}:", ""]
