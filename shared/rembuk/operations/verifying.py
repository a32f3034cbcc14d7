"""Verify: one pass over a log, which is held against its signed heads and against its stream at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import asyncpg
import msgspec

from rembuk.broker import nats_wire, streams
from rembuk.broker.raw_stream import RawMessage, RawStream
from rembuk.broker.stream_names import stream_name
from rembuk.flow.standing import checkpoint_positions
from rembuk.log.event_log import PAGE
from rembuk.log.standing import last_position, log_end
from rembuk.operations.against_heads import AgainstHeads
from rembuk.operations.against_stream import AgainstStream
from rembuk.operations.against_vault import AgainstVault
from rembuk.operations.steps import Skipped, Verified, Verifying, Wrong
from rembuk.postgres.database import connect
from rembuk.postgres.provisioning import SERVICES
from rembuk.proof.merkle import leaf_hash
from rembuk.proof.signed_note import Verifier
from rembuk.transparency.leaves import leaf_of, leaf_within

PAGE_EVENTS = 2_000
TOLD = 20
"""So many of a kind are told one by one; the rest are counted."""

_SKIPPED = """select follower, stream, position, type, headers, data, why, by_whom, skipped_at from skipped
              order by follower, stream, position"""


class _Page:
    """What the log has at `first` and the positions that follow: a row each, or why there is none."""

    def __init__(self, first: int, rows: Sequence[asyncpg.Record | str], region: str, service: str) -> None:
        self.last = first + len(rows) - 1
        self.rows: list[asyncpg.Record] = []
        self.headers: list[str | None] = []
        self.leaves: list[bytes | None] = []
        self.metadatas: list[str | None] = []
        self.wrong: list[Wrong] = []
        for position, row in enumerate(rows, first):
            if isinstance(row, str):
                self.wrong.append(Wrong("log", row, position))
                self.leaves.append(None)
                self.metadatas.append(None)
                continue
            try:
                header = streams.header_lines(region, service, row)
            except (ValueError, msgspec.MsgspecError) as error:
                self.wrong.append(Wrong("log", f"is nothing that could be published: {error}", position))
                header = None
            self.metadatas.append(row["metadata"])
            self.rows.append(row)
            self.headers.append(header)
            self.leaves.append(None if header is None else leaf_hash(leaf_of(header, row["data"].encode())))
        self.wrong += [
            Wrong("log", "was recorded before the one before it", later["position"])
            for earlier, later in pairwise(self.rows)
            if later["recorded_at"] < earlier["recorded_at"]
        ]


async def verify(
    log_url: str,
    nats_url: str,
    region: str,
    service: str,
    verifiers: Sequence[Verifier],
    against_vault: AgainstVault | None = None,
) -> AsyncIterator[Verifying | Wrong | Skipped | Verified]:
    """Look at all that the log holds now; `verifiers` are its keys, and the vault holds those of persons. Nothing is
    changed; what is recorded meanwhile is not looked at. Raises what
    `rembuk.postgres.database.UNREACHABLE` lists, Unavailable, and nats.errors.Error."""
    found = Counter[str]()
    pages, beside = await connect(log_url, "verify"), await connect(log_url, "verify heads")
    stream = RawStream()
    try:
        await stream.connect(nats_url, connect_timeout=5, max_reconnect_attempts=3)
        against_heads = AgainstHeads(beside, region, service, verifiers)
        against_stream = AgainstStream(stream, await _begin(stream, region, service), region, service)
        end = await log_end(pages)
        head = end.position
        async for page in _pages(pages, head, region, service):
            wrong = [*page.wrong, *await against_heads.take(page.leaves, page.metadatas)]
            if page.rows and page.rows[-1]["position"] == head and page.rows[-1]["recorded_at"] != end.recorded_at:
                wrong.append(Wrong("log", "log.head tells another time: no event would be recorded before that", head))
            wrong += await against_stream.take(page.rows, page.headers)
            if against_vault is not None:
                wrong += [Wrong("keys", said, position) for position, said in await against_vault.take(page.rows)]
            for one in _told(wrong, found):
                yield one
            yield Verifying(page.last, head)
        wrong = [*await against_heads.end(head), *await against_stream.end(head, beside), *await against_heads.kept()]
        wrong += await _beyond(pages, stream, region, service)
        skipped, not_so = await _skipped(pages, stream, region, service)
        for one in _told([*wrong, *not_so], found):
            yield one
        for skip in skipped:
            yield skip
        published, lost = min(head, against_stream.tail), len(against_vault.lost) if against_vault else 0
        yield Verified(head, against_heads.signed, against_heads.heads, published, found.total(), lost)
    finally:
        pages.terminate()
        beside.terminate()
        await stream.close()


async def _begin(stream: RawStream, region: str, service: str) -> int:
    """Read the stream from now on; its last sequence, which the log has reached by then."""
    name = stream_name(region, service)
    if tail := await streams.tail_of(stream.jetstream(), name):
        await stream.begin(name)
    return tail


async def _beyond(connection: asyncpg.Connection[Any], stream: RawStream, region: str, service: str) -> list[Wrong]:
    """Followers that will pass over what is still to come, since they stand beyond the end."""
    checkpoints = [reached for reached in await checkpoint_positions(connection) if reached.position]
    followed = {reached.stream for reached in checkpoints} & _streams(region, service)
    ends = {name: await streams.tail_of(stream.jetstream(), name) for name in followed}
    ends[stream_name(region, service)] = await last_position(connection)
    return [
        Wrong(
            "followers",
            f"the checkpoint of {reached.follower} is beyond the end of {reached.stream}, {end}",
            reached.position,
        )
        for reached in checkpoints
        if reached.position > (end := ends.get(reached.stream, 0))
    ]


async def _skipped(
    connection: asyncpg.Connection[Any], stream: RawStream, region: str, service: str
) -> tuple[list[Skipped], list[Wrong]]:
    """What followers pass over for good; it came to quarantine, so what the stream does not hold is an invention."""
    skipped: list[Skipped] = []
    wrong: list[Wrong] = []
    known = _streams(region, service)
    for row in await connection.fetch(_SKIPPED):
        name, at = row["stream"], row["position"]
        message = await stream.one(name, at) if name in known and at > 0 else None
        if message is None or not _holds(message, row):
            said = f"{row['follower']} skips it, and what is kept of that is not the event there in {name!r:.200}"
            wrong.append(Wrong("followers", said, at))
        skipped.append(Skipped(row["follower"], name, at, row["type"], row["why"], row["by_whom"], row["skipped_at"]))
    return skipped, wrong


def _holds(message: RawMessage, row: asyncpg.Record) -> bool:
    """Whether a message is what came to quarantine, but for how it was published."""
    try:
        kept = msgspec.json.decode(row["headers"], type=dict[str, str])
    except msgspec.MsgspecError:
        return False
    theirs = leaf_within(nats_wire.parse_header_lines(message.header), message.data)
    return leaf_within(kept, row["data"]) == theirs


def _streams(region: str, service: str) -> set[str]:
    """All that a service of a region can follow, its own included."""
    return {stream_name(region, one) for one in (*SERVICES, service)}


def _told(wrong: Sequence[Wrong], found: Counter[str]) -> list[Wrong]:
    """Those that are told one by one, after counting all."""
    told = []
    for one in wrong:
        found[one.what] += 1
        if found[one.what] <= TOLD:
            told.append(one)
    return told


async def _pages(connection: asyncpg.Connection[Any], head: int, region: str, service: str) -> AsyncIterator[_Page]:
    """The log up to `head`, each page read while the one before it is worked on."""
    reading = asyncio.create_task(_read(connection, 0, head))
    try:
        position = 0
        while position < head:
            rows = await reading
            first, position = position + 1, position + len(rows)
            reading = asyncio.create_task(_read(connection, position, head))
            yield _Page(first, rows, region, service)
    finally:
        reading.cancel()


async def _read(connection: asyncpg.Connection[Any], after: int, head: int) -> list[asyncpg.Record | str]:
    """What stands at the positions after `after`, in order, up to `head`: a row, or why there is none."""
    if after >= head:
        return []
    try:
        rows = await connection.fetch(PAGE, after, min(PAGE_EVENTS, head - after))
    except asyncpg.InternalServerError:
        return [await _read_alone(connection, after + 1)]
    by_position = {row["position"]: row for row in rows}
    until = max(by_position) if by_position else head
    return [
        by_position.get(position, "is missing in the log")
        for position in range(after + 1, min(until, head, after + PAGE_EVENTS) + 1)
    ]


async def _read_alone(connection: asyncpg.Connection[Any], position: int) -> asyncpg.Record | str:
    try:
        [row] = await connection.fetch(PAGE, position - 1, 1)
    except asyncpg.InternalServerError as error:
        return f"cannot be read: {error}"
    return row if row["position"] == position else "is missing in the log"
