"""Watching one stream of a region's: its mirror at the hub is made when there is something to mirror, goes on when its
question was lost, and is compared every few seconds with the region's own stream, which is asked through the link."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig, StreamInfo
from nats.js.errors import NotFoundError
from rembuk.broker.streams import moment_of
from rembuk.federation.hub_regions import mirror_config
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.standing import position_and_time
from rembuk.log.sources import SERVERS_AWAY
from rembuk.postgres.database import UNREACHABLE, Pool, borrowed

from hub.domain import STALLED_AFTER, Look, MirrorStanding, standing
from hub.nats_server import OwnServer
from hub.tables import region_stream

LOOK_S, SOON_S = 3.0, 1.0
"""How long after one look the next one is, and where a change is awaited."""
SHORTLY = timedelta(seconds=10)
"""For how long a stream that is behind is expected to be level at any moment."""
ANSWER_S = 2.0
"""How long a region may take to answer."""
HEARD_S = 3.0
"""A mirror hears its region each second, events or not; one that has not for so long, or never, is deaf."""
LAST_LOOK = "select * from region_stream where region = $1 and service = $2"

_COLUMNS = tuple(region_stream.columns.keys())
_KEEP = f"""insert into region_stream ({", ".join(_COLUMNS)})
            values ({", ".join(f"${number}" for number in range(1, len(_COLUMNS) + 1))})
            on conflict (region, service) do update
            set {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}"""  # noqa: S608 - our own columns

_log = structlog.get_logger(__name__)


class AnotherMirror(Exception):
    """What stands in the mirror's place is another stream, and is left as it is."""


class MirrorWatch:
    """Looks at one stream, and writes down how it stands. `client` is a connection to the region's account.

    A mirror that is made before its region answers, or recovered from the disk when the hub's server starts, asks for a
    consumer at once and then waits 30 s for an answer that cannot come. So it is made when the region has the stream,
    and a question that is lost gets an answer upon which the server asks again. What else has stalled is told of and
    left alone: to update its configuration moved none (nats-server 2.15.1), and to delete it would take what the region
    may have lost."""

    def __init__(
        self,
        client: Client,
        pool: Pool,
        region: str,
        service: str,
        checkpoint: Checkpoint,
        stalled_after: timedelta = STALLED_AFTER,
        server: OwnServer | None = None,
    ) -> None:
        self.mirrored = asyncio.Event()
        """Whether the mirror is there."""
        self._client, self._hub, self._pool, self._checkpoint = client, client.jetstream(), pool, checkpoint
        self._region_api = client.jetstream(domain=region, timeout=ANSWER_S)
        self._key, self._config = (region, service), mirror_config(region, service)
        self._stream, self._stalled_after, self._server = checkpoint.stream, stalled_after, server or OwnServer()
        self._last: MirrorStanding | None = None
        self._compared: datetime | None = None  # when the region's stream was created that was found to be the same
        self._missing: tuple[int, datetime | None] = 0, None

    async def run(self) -> None:
        """Look until cancelled; what heals by itself is tried again. Raises AnotherMirror."""
        remembered = False
        while True:
            pause = LOOK_S
            try:
                if not remembered:
                    await self._remember()
                    remembered = True
                pause = await self.look()
            except AnotherMirror as error:
                await self._say(str(error))
                raise
            except SERVERS_AWAY as error:
                _log.warning("a region's stream cannot be looked at", stream=self._stream, error=repr(error))
            await asyncio.sleep(pause)

    async def _remember(self) -> None:
        """What the last look of our own or another process has found."""
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(LAST_LOOK, *self._key)
        self._last = msgspec.convert(dict(row), MirrorStanding) if row else None

    async def look(self) -> float:
        """One look, written down; after how many seconds the next one is due. What is behind is read first, so that who
        is level does not seem to be ahead. The clock is that of the hub's database, by which others judge how long ago
        it was.
        Raises AnotherMirror, nats.errors.Error, and what `UNREACHABLE` lists."""
        async with borrowed(self._pool) as connection:
            shown, now = await position_and_time(connection, *self._checkpoint.key)
        mirror = await self._mirror()
        position, deaf = (mirror.state.last_seq, _deaf(mirror)) if mirror is not None else (0, False)
        unanswered = await self._server.unanswered(self._key[0]) if deaf else frozenset()
        region_position, error = None, ""
        diverged_at = self._last.diverged_at if self._last else None
        try:
            theirs = await self._theirs()
        except (TimeoutError, nats.errors.Error) as failure:
            error = f"{self._key[0]} does not answer: {failure!r}"
        else:
            region_position = theirs.state.last_seq if theirs is not None else 0
            if theirs is not None and mirror is None:
                await self._make()
            await self._server.ask_again(self._client, self._key[0], unanswered)
            try:
                if theirs is not None:
                    diverged_at = await self._compare(theirs, position)
                await self._find_missing(min(shown, position), position, region_position, now)
            except (TimeoutError, nats.errors.Error) as failure:
                error = f"{self._key[0]} lets none of its events be read: {failure!r}"
        look = Look(now, position, shown, region_position, diverged_at)
        stands = standing(self._last, look, self._stalled_after)
        self._tell(stands)
        self._last = stands
        await self._keep(stands, self._server.refused(self._key[0]) or error)
        catches_up = stands.state == "behind" and now - stands.since < SHORTLY
        return SOON_S if mirror is None or catches_up or (deaf and region_position is not None) else LOOK_S

    async def _mirror(self) -> StreamInfo | None:
        """The hub's own stream; None where there is none yet. Raises AnotherMirror, nats.errors.Error."""
        try:
            info = await self._hub.stream_info(self._stream)
        except NotFoundError:
            return None
        if _essence(info.config) != _essence(self._config):
            raise AnotherMirror(
                f"{self._stream} at the hub is not {_essence(self._config)}, but {_essence(info.config)}"
            )
        self.mirrored.set()
        return info

    async def _make(self) -> None:
        await self._hub.add_stream(self._config)
        self.mirrored.set()
        _log.info("mirror made", stream=self._stream)

    async def _theirs(self) -> StreamInfo | None:
        """The region's own; None where it has none yet."""
        with suppress(NotFoundError):
            return await self._region_api.stream_info(self._stream)
        return None

    async def _compare(self, theirs: StreamInfo, position: int) -> int | None:
        """Where the region has another event than we, looked at anew when its stream was made anew or had been too
        short: at the last position that we held of the former one."""
        before = self._last.diverged_at if self._last else None
        at = min(before or (self._last.position if self._last else 0) or position, position)
        if theirs.state.last_seq < position:
            self._compared = None
            return before
        if not at or (before is None and self._compared == theirs.created):
            return before
        ours = await self._hub.get_msg(self._stream, seq=at, direct=True)
        other = await _read(self._region_api, self._stream, at)
        if (ours.headers or {}).get("Nats-Msg-Id") != other.get("Nats-Msg-Id"):
            return at
        self._compared = theirs.created
        return None

    async def _find_missing(self, held: int, position: int, region_position: int, now: datetime) -> None:
        """Note when the first event was recorded that the region has and we do not show: by the region's clock, but not
        later than we heard of it."""
        if region_position <= held:
            self._missing = 0, None
        elif self._missing[0] != held + 1:
            self._missing = 0, None
            if held < position:
                headers = (await self._hub.get_msg(self._stream, seq=held + 1, direct=True)).headers or {}
            else:
                headers = await _read(self._region_api, self._stream, held + 1)
            moment = None
            with suppress(KeyError, ValueError):  # no event of Rembuk's: the projection will say so
                moment = min(now, moment_of(headers["ce-time"]))
            self._missing = held + 1, moment

    def _tell(self, now: MirrorStanding) -> None:
        if self._last is not None and self._last.state == now.state:
            return
        told = {"stream": self._stream, "position": now.position, "region_position": now.region_position}
        match now.state:
            case "stalled" | "diverged":
                _log.critical(f"a region's stream has {now.state}", **told, diverged_at=now.diverged_at)
            case "cut_off":
                _log.warning("a region is cut off", **told)
            case _:
                _log.info("a region's stream stands", state=now.state, **told)

    async def _keep(self, now: MirrorStanding, error: str) -> None:
        region, service = self._key
        values = {"region": region, "service": service, "missing_since": self._missing[1], "error": error}
        values |= msgspec.structs.asdict(now)
        async with borrowed(self._pool) as connection:
            await connection.execute(_KEEP, *(values[name] for name in _COLUMNS))

    async def _say(self, error: str) -> None:
        with suppress(*UNREACHABLE):
            async with borrowed(self._pool) as connection:
                await connection.execute(
                    "update region_stream set error = $3 where region = $1 and service = $2", *self._key, error
                )


def _deaf(mirror: StreamInfo) -> bool:
    """Whether it hears nothing of its region."""
    heard_ago = mirror.mirror.active if mirror.mirror is not None else None  # in nanoseconds; -1: never yet
    return heard_ago is None or not 0 <= heard_ago < HEARD_S * 1e9


def _essence(config: StreamConfig) -> tuple[Any, ...]:
    """What makes a stream the mirror that it is to be."""
    external = config.mirror.external if config.mirror else None
    source = (config.mirror.name, external.api if external else None) if config.mirror else None
    return config.name, source, config.deny_delete, config.deny_purge, config.max_age or 0, config.subjects or []


async def _read(jetstream: JetStreamContext, stream: str, position: int) -> dict[str, str]:
    """The headers of one message of a region's, by a consumer that ends by itself: the hub may ask for no message."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=position, ack_policy=AckPolicy.NONE,
        headers_only=True, mem_storage=True, inactive_threshold=ANSWER_S,
    )  # fmt: skip
    consumer = await jetstream.add_consumer(stream, config)
    pull = await jetstream.pull_subscribe_bind(consumer.name, stream)
    try:
        [message] = await pull.fetch(1, ANSWER_S)
    finally:
        await pull.unsubscribe()
    return dict(message.headers or {})
