"""The regions that the hub reads: each is begun when it is admitted and ended when it is revoked, while all runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from datetime import timedelta

import nats.errors
import structlog
from rembuk.broker import nats_wire
from rembuk.broker.connecting import broker, connect
from rembuk.broker.stream_names import stream_name
from rembuk.federation.hub_regions import INBOX, SETTING, Admitted, operator_seed, reader_seed
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.following import Follower
from rembuk.flow.handler import Handler
from rembuk.flow.projector import Projector
from rembuk.keys.key_setting import read_keys
from rembuk.partners.roster import BadRoster, Roster
from rembuk.postgres.database import UNREACHABLE, Pool, borrowed, open_pool
from rembuk.process.vital import vital
from rembuk.settings import MissingSetting, Settings
from rembuk.worker import SideBySide, follower_of

from hub import projection
from hub.answering import answer
from hub.forwarding import NAME, SERVICE, Forwarder
from hub.nats_server import OwnServer
from hub.watching import MirrorWatch

ROSTER_S = 1.0
GONE_S = 10.0
AGAIN_S = 5.0
"""How long after a failure a region is begun anew; the others go on meanwhile."""

_KEEP = """insert into region (name, admitted_at, revoked_at) values ($1, $2, $3)
           on conflict (name) do update set admitted_at = excluded.admitted_at, revoked_at = excluded.revoked_at"""

_log = structlog.get_logger(__name__)


class _Gone(Exception):
    """Another connection to a region's account has to be made: FastStream gives one up without a word when the account
    is not there for a moment."""


def handlers(settings: Settings, region: str) -> dict[str, list[Handler]]:
    """What is made of a region's streams, by service: of each a projection, and of its reports what it says to
    others."""
    made: dict[str, list[Handler]] = {}
    for service, codec in projection.CODECS.items():
        checkpoint = Checkpoint(settings.database_url, projection.NAME, stream_name(region, service))
        made[service] = [Projector(checkpoint, codec, projection.projection(region, service))]
        if service == SERVICE:
            made[service].append(Forwarder(checkpoint.beside(NAME), region))
    return made


class Regions:
    """All that are admitted, each read beside the others."""

    def __init__(self, settings: Settings, roster: Roster[Admitted], key: bytes) -> None:
        self._settings, self._roster, self._key = settings, roster, key
        self._running: dict[str, _Region] = {}
        self._server = OwnServer()

    @classmethod
    def told(cls, settings: Settings) -> Regions:
        """Those of the list and the key that the settings name. Raises MissingSetting, BadRoster, BadKey."""
        [key, *_] = read_keys(settings.hub.key, "the hub's key")
        return cls(settings, roster_of(settings), key)

    async def run(self) -> None:
        """Heed the list until cancelled, after `stop`."""
        server = vital(self._listen(), "the hub's nats-server")
        pool = open_pool(self._settings.database_url, f"{self._settings.name} regions", 4)
        known: Sequence[Admitted] | None = None
        try:
            while True:
                try:
                    listed = self._roster.read()
                    if listed != known:
                        await _write_down(pool, listed)
                        await self._heed(pool, {one.name for one in listed if one.revoked_at is None})
                        known = listed
                except BadRoster as error:
                    _log.critical("the list of regions cannot be read", why=str(error))
                except UNREACHABLE as error:
                    _log.warning("waiting for the database", task="regions", error=repr(error))
                await asyncio.sleep(ROSTER_S)
        finally:
            server.cancel()
            await pool.close()

    async def _listen(self) -> None:
        """Hear what the nats-server says about itself, until cancelled."""
        client = await connect(
            self._settings.nats_url, f"{self._settings.name} regions", operator_seed(self._key), INBOX
        )
        try:
            await self._server.listen(client)
            await asyncio.Event().wait()
        finally:
            await client.close()

    async def stop(self) -> None:
        """Of each region finish the batches in hand."""
        await asyncio.gather(*(region.stop() for region in self._running.values()))

    async def _heed(self, pool: Pool, active: Set[str]) -> None:
        """Begin and end what the list says."""
        for name in self._running.keys() - active:
            await self._running.pop(name).stop()
            _log.info("region ended", region=name)
        for name in sorted(active - self._running.keys()):
            self._running[name] = _Region(self._settings, pool, name, reader_seed(self._key, name), self._server)
            _log.info("region begun", region=name)


class _Region:
    """Reads a region until it is stopped, whatever happens to it or to the other ones."""

    def __init__(self, settings: Settings, pool: Pool, name: str, seed: str, server: OwnServer) -> None:
        self._settings, self._pool, self._name, self._seed = settings, pool, name, seed
        self._server = server
        self._stalled_after = timedelta(seconds=settings.hub.stalled_s)
        self._stopping = asyncio.Event()
        self._task = vital(self._run(), f"region {name}", self._stopping.is_set)

    async def stop(self) -> None:
        self._stopping.set()
        await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            side_by_side = SideBySide()
            side_by_side.keep(self._until_told(side_by_side), "until told")
            await self._read(side_by_side)
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await self._stopping.wait()

    async def _until_told(self, side_by_side: SideBySide) -> None:
        await self._stopping.wait()
        side_by_side.stopping.set()

    async def _read(self, side_by_side: SideBySide) -> None:
        """Follow and watch its streams until that is to stop, or a part of it fails."""

        async def work() -> None:
            client = nats_wire.quicken(await faststream.connect())
            side_by_side.keep(answer(client, self._pool, self._name), f"answers to {self._name}")
            for service, together in made.items():
                checkpoint = together[0].checkpoint
                watch = MirrorWatch(
                    client, self._pool, self._name, service, checkpoint, self._stalled_after, self._server
                )
                followers.append(follower_of(faststream, self._settings, *together))
                side_by_side.keep(watch.run(), f"watch of {checkpoint.stream}")
                side_by_side.begin(_follow(followers[-1], watch.mirrored), followers[-1].name)
            connected_at = time.monotonic()
            while time.monotonic() - connected_at < GONE_S:
                if client.is_connected:
                    connected_at = time.monotonic()
                await asyncio.sleep(ROSTER_S)
            raise _Gone(f"there is no connection to the account of {self._name}")

        faststream = broker(self._settings.nats_url, f"{self._settings.name} {self._name}", self._seed, INBOX)
        made = handlers(self._settings, self._name)
        followers: list[Follower] = []
        side_by_side.keep(work(), f"reading {self._name}")
        await side_by_side.stopping.wait()
        await asyncio.gather(*(follower.stop() for follower in followers), return_exceptions=True)
        await side_by_side.cancel()
        with suppress(nats.errors.Error):
            await faststream.stop()
        for projector, *_ in made.values():
            projector.checkpoint.connection.drop()


async def _follow(follower: Follower, mirrored: asyncio.Event) -> None:
    await mirrored.wait()
    await follower.start()


async def _write_down(pool: Pool, listed: Sequence[Admitted]) -> None:
    """Who is admitted, and who no longer: the last word on each."""
    async with borrowed(pool) as connection, connection.transaction():
        for one in sorted(listed, key=lambda one: one.admitted_at):
            await connection.execute(_KEEP, one.name, one.admitted_at, one.revoked_at)


def roster_of(settings: Settings) -> Roster[Admitted]:
    """The list of regions that the settings name. Raises MissingSetting, BadRoster."""
    if not settings.hub.regions:
        raise MissingSetting(f"{SETTING} is not set")
    return Roster.told(SETTING, settings.hub.regions, Admitted)
