"""Rebuild: a service's read model made anew from position 1 beside the live one, compared with it, and swapped in.

It is projected by the service's own code and SQL from its own log, and where it shows another service's events, from
that one's stream; so nothing is sent or reacted to. While it runs the live model goes on; what was done is kept when
it is interrupted, and gone on with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import Table

from rembuk import tracing
from rembuk.broker import streams
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.projector import Projector
from rembuk.log.sources import Ending, ahead
from rembuk.log.standing import last_position, recorded_at
from rembuk.operations.side_model import SideModel
from rembuk.operations.steps import LeftBeside, Rebuilding, RebuildStep, Swapped
from rembuk.postgres.database import connect

BATCH = 2_000
NEAR = 500
"""So few events from level with the live model, the rest is projected within the transaction that compares."""
SCHEMA = "rebuild"
COMPARISON = "comparison"
"""Where a model is built that is only compared: a rebuild that was interrupted stays as it is."""

_ALONE = "select pg_try_advisory_lock(hashtext('rembuk rebuild'))"
_SKIPPED = "select position from public.skipped where follower = $1 and stream = $2"
_AT = "select coalesce(max(position), 0) from log.event where recorded_at <= $1"
_BESIDE = (
    r"select nspname from pg_namespace where nspname = any($1) or nspname ~ '^(building_)?as_of_\d+$' order by nspname"
)


class CannotRebuild(Exception):
    """Why nothing was done."""


class Rebuild:
    """The rebuilds of one service. The first of `projectors` is that of its own log, `sources` are by stream, `code`
    names the release of the projection: what another one began is begun anew. Whatever is built raises CannotRebuild,
    what `rembuk.postgres.database.UNREACHABLE` lists, and nats.errors.Error."""

    def __init__(
        self,
        owner_url: str,
        role: str,
        tables: Sequence[Table],
        projectors: Sequence[Projector],
        sources: Mapping[str, Ending],
        code: str,
    ) -> None:
        self._owner_url, self._role, self._code = owner_url, role, code
        self._tables, self._projectors, self._sources = tables, projectors, sources

    async def swap(self) -> AsyncIterator[RebuildStep]:
        """Build, compare, and put the new tables in the place of the live ones."""
        async with self._beside(SCHEMA) as beside:
            await beside.require_live_within()
            async for step in beside.build_and_compare():
                yield step
            await beside.side.make_searchable()
            async for step in beside.near_live():
                yield step
            async with beside.connection.transaction():
                await beside.side.lock_live()
                async for step in beside.to_live():
                    yield step
                await beside.require_all_taken()
                await beside.side.take_over()
                await beside.side.swap([one.checkpoint.key for one in self._projectors])
            yield Swapped(await beside.connection.fetchval("select count(*) from public.quarantine"))

    async def compare(self) -> AsyncIterator[RebuildStep]:
        """Build and compare, then forget what was built."""
        async with self._beside(COMPARISON) as beside:
            try:
                async for step in beside.build_and_compare():
                    yield step
            finally:
                await beside.side.drop()

    async def as_of(self, when: int | datetime) -> AsyncIterator[RebuildStep]:
        """Build the model as it was at a position of the service's own log, or at a moment, and leave it beside the
        live one, to be asked by the service."""
        position, moment = await self._position_and_moment(when)
        async with self._beside(f"building_as_of_{position}") as beside:
            async for step in beside.to_moment(position, moment):
                yield step
            await beside.side.make_searchable()
            await beside.side.rename(f"as_of_{position}")
            yield LeftBeside(beside.side.schema, position)

    async def discard(self) -> list[str]:
        """Forget what stands beside the live model; the schemas that did."""
        connection = await self._alone()
        try:
            schemas = [row["nspname"] for row in await connection.fetch(_BESIDE, [SCHEMA, COMPARISON])]
            for schema in schemas:
                await connection.execute(f"drop schema {schema} cascade")
            return schemas
        finally:
            connection.terminate()

    async def _position_and_moment(self, when: int | datetime) -> tuple[int, datetime]:
        connection = await connect(self._owner_url, "rebuild")
        try:
            if isinstance(when, datetime):
                if position := int(await connection.fetchval(_AT, when)):
                    return position, when
                raise CannotRebuild(f"nothing had been recorded by {when.isoformat()}")
            head = await last_position(connection)
            moment = await recorded_at(connection, when) if when <= head else None
            if moment is None:
                raise CannotRebuild(f"there is no position {when}: the log ends at {head}")
            return when, moment
        finally:
            connection.terminate()

    async def _alone(self) -> asyncpg.Connection[Any]:
        connection = await connect(self._owner_url, "rebuild", patience_s=None)
        await connection.execute("set synchronous_commit = off")  # what a crash takes is built again
        await connection.execute("set max_parallel_maintenance_workers = 0")  # the service works on meanwhile
        if not await connection.fetchval(_ALONE):
            connection.terminate()
            raise CannotRebuild("another rebuild of this service is under way")
        return connection

    @asynccontextmanager
    async def _beside(self, schema: str) -> AsyncIterator[_Beside]:
        connection = await self._alone()
        try:
            side = SideModel(connection, schema, self._tables, self._role, passing=schema == COMPARISON)
            await side.open(self._code, [one.checkpoint.key for one in self._projectors])
            projectors = [
                one.beside(
                    _SideCheckpoint(connection, one.checkpoint),
                    {row["position"] for row in await connection.fetch(_SKIPPED, *one.checkpoint.key)},
                )
                for one in self._projectors
            ]
            yield _Beside(connection, side, projectors, self._sources)
        finally:
            connection.terminate()


class _SideCheckpoint(Checkpoint):
    """Where a projection stands in the side model, on the connection that makes it."""

    def __init__(self, connection: asyncpg.Connection[Any], live: Checkpoint) -> None:
        self.follower, self.stream = live.follower, live.stream
        self._given = connection

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        yield self._given


class _Beside:
    """A side model in the making."""

    def __init__(
        self,
        connection: asyncpg.Connection[Any],
        side: SideModel,
        projectors: Sequence[Projector],
        sources: Mapping[str, Ending],
    ) -> None:
        self.connection, self.side = connection, side
        self._projectors, self._sources = projectors, sources

    async def build_and_compare(self) -> AsyncIterator[RebuildStep]:
        """Come near the live model, then to its very position, and tell the differences there."""
        async for progress in self.near_live():
            yield progress
        async with self.connection.transaction(isolation="repeatable_read"):
            async for step in self.to_live():
                yield step
            await self.side.take_over()
            async for compared in self.side.compare():
                yield compared

    async def near_live(self) -> AsyncIterator[Rebuilding]:
        """Come near the live model while it moves on."""
        while await self._behind() > NEAR:
            async for progress in self.to_live():
                yield progress

    async def to_live(self) -> AsyncIterator[Rebuilding]:
        """Bring each projection to where the live one stands now, or its source ends, if that is before it."""
        for projector in self._projectors:
            live, end = await self._live_and_end(projector)
            async for progress in self._to(projector, min(live, end)):
                yield progress

    async def require_live_within(self) -> None:
        """Raises CannotRebuild where a live projection stands beyond the end of its source, and misses what comes."""
        for projector in self._projectors:
            live, end = await self._live_and_end(projector)
            if live > end:
                follower, stream = projector.checkpoint.key
                raise CannotRebuild(f"the checkpoint of {follower} is {live}, beyond the end of {stream}, {end}")

    async def require_all_taken(self) -> None:
        """Raises CannotRebuild where today's code cannot take an event that the live model has."""
        if aside := await self.side.newly_aside():
            raise CannotRebuild(
                f"the live model stays: it has {aside['events']} events that today's code cannot take, the first at "
                f"position {aside['position']} of {aside['stream']}, because of "
                f"{aside['error'].strip().splitlines()[-1]}; mend the code and rebuild again"
            )

    async def to_moment(self, position: int, moment: datetime) -> AsyncIterator[Rebuilding]:
        """Bring the projection of the own log to `position`, the others to what was recorded by `moment`."""
        own, *others = self._projectors
        async for progress in self._to(own, position):
            yield progress
        for other in others:
            live, end = await self._live_and_end(other)
            async for progress in self._to(other, min(live, end), moment):
                yield progress

    async def _behind(self) -> int:
        behind = []
        for projector in self._projectors:
            side, _ = await self.side.positions(*projector.checkpoint.key)
            behind.append(min(await self._live_and_end(projector)) - side)
        return max(behind)

    async def _live_and_end(self, projector: Projector) -> tuple[int, int]:
        """Where the live one stands, and then where its source ends: beyond that only a hand could have put it."""
        _, live = await self.side.positions(*projector.checkpoint.key)
        return live, await self._sources[projector.checkpoint.stream].end()

    async def _to(self, projector: Projector, target: int, moment: datetime | None = None) -> AsyncIterator[Rebuilding]:
        """Project up to `target`, or what was recorded by `moment` of it."""
        follower, stream = projector.checkpoint.key
        position, _ = await self.side.positions(follower, stream)
        async with ahead(self._sources[stream], position, target, BATCH) as pages:
            async for messages in pages:
                due = messages if moment is None else [one for one in messages if streams.recorded_at(one) <= moment]
                with tracing.batch("rebuild", stream, map(streams.about, due), follower=follower):
                    await projector.process(due)
                if len(due) < len(messages):
                    return
                yield Rebuilding(follower, stream, streams.sequence(messages[-1]), target)
