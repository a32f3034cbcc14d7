"""The worker process beside a service's API: relay, signer, eraser, followers, and what else runs beside them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import asyncpg
import nats
import nats.errors
import structlog
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg

from rembuk import nats_wire
from rembuk.cancelling import cancel
from rembuk.checkpoints import Checkpoint
from rembuk.cosigning import Cosigning
from rembuk.erasing import Eraser
from rembuk.following import Follower
from rembuk.log_key import signers
from rembuk.relay import Relay
from rembuk.settings import Settings
from rembuk.signing import PAUSE_S, Signing
from rembuk.webhooks import Webhooks

GRACE_S = 5.0
"""How long a stopping follower finishes the batch in hand: what it leaves is done by the next start."""

_log = structlog.get_logger(__name__)

Task = Callable[[], Awaitable[None]]
"""Runs until cancelled; heals what can heal by itself."""


async def connect(url: str, name: str) -> Client:
    """A NATS connection that is tried for ever, first and again: no service falls with its broker."""

    async def said(error: Exception) -> None:
        _log.warning("nats connection", error=repr(error))

    while True:
        try:
            return await nats.connect(
                url, name=name, max_reconnect_attempts=-1, reconnect_time_wait=0.25, connect_timeout=2,
                ping_interval=10, max_outstanding_pings=2, error_cb=said, allow_reconnect=True,
            )  # fmt: skip
        except Exception as error:
            _log.info("waiting for nats", error=repr(error))
            await asyncio.sleep(0.3)


def broker(url: str, name: str) -> NatsBroker:
    """The FastStream broker that a service's followers share."""
    return NatsBroker(
        url, name=name, apply_types=False, logger=None, max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # nats-py takes a float
        connect_timeout=2, ping_interval=10, max_outstanding_pings=2, graceful_timeout=GRACE_S,
    )  # fmt: skip


class Handler(Protocol):
    """What is made of one stream: a Projector or a Reactor."""

    checkpoint: Checkpoint

    async def process(self, messages: list[Msg]) -> None: ...

    async def retry(self, connection: asyncpg.Connection[Any], aggregate: str) -> int: ...


class Worker:
    """Runs a service's relay, signing, eraser, followers and tasks until SIGTERM or SIGINT; the batch in hand is
    finished."""

    def __init__(
        self,
        settings: Settings,
        handlers: Sequence[Handler],
        *,
        start: Sequence[Task] = (),
        tasks: Sequence[Task] = (),
        stop: Sequence[Task] = (),
    ) -> None:
        self._settings = settings
        self._handlers, self._start, self._tasks, self._stop = handlers, start, tasks, stop
        pause_s = float(settings.environment.get("REMBUK_TREE_HEAD_SECONDS", PAUSE_S))
        signer = signers(settings)[0]
        self._signing = Signing(settings.database_url, settings.region, settings.service, signer, pause_s)
        self._webhooks = Webhooks.told(settings)
        self._cosigning = Cosigning.told(settings, pause_s)

    def _follower(self, broker: NatsBroker, handler: Handler) -> Follower:
        """Durable consumers are named after service and follower, and after the stream's service where that is
        another: one follower may follow several."""
        checkpoint = handler.checkpoint
        source = checkpoint.stream.lower().rpartition("_")[2]
        name = f"{self._settings.name}_{checkpoint.follower}"
        if source != self._settings.service:
            name += f"_{source}"
        return Follower(broker, checkpoint.stream, name, checkpoint.position, handler.process)

    async def run(self) -> bool:
        """Whether it stopped because it was told to, and not because something failed."""
        failed = False
        settings = self._settings
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        background: set[asyncio.Task[Any]] = set()

        def keep(work: Any, name: str) -> None:
            task = asyncio.create_task(work, name=name)
            background.add(task)
            task.add_done_callback(ended)

        def ended(task: asyncio.Task[Any]) -> None:
            nonlocal failed
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.critical("worker task failed", task=task.get_name(), exc_info=error)
                failed = True
                stopping.set()

        async def work() -> None:
            for hook in self._start:
                await hook()
            keep(self._signing.run(), "signing")
            keep(Eraser(settings.database_url).run(), "eraser")
            keep(self._cosigning.run(), "cosigning")
            if self._webhooks is not None:
                keep(self._webhooks.run(), "webhooks")
            client = await connect(settings.nats_url, f"{settings.name} relay")
            keep(Relay(settings.database_url, client, settings.region, settings.service).run(), "relay")
            nats_wire.quicken(await faststream.connect())
            for handler in self._handlers:
                follower = self._follower(faststream, handler)
                running.append(follower)
                keep(follower.start(), follower.name)
            for number, task in enumerate(self._tasks):
                keep(task(), f"task {number}")
            _log.info("worker runs")

        faststream = broker(settings.nats_url, f"{settings.name} followers")
        running: list[Follower] = []
        keep(work(), "start")
        await stopping.wait()
        _log.info("worker stops")
        await asyncio.gather(*(follower.stop() for follower in running), return_exceptions=True)
        await cancel(background)
        for hook in self._stop:
            await hook()
        with suppress(nats.errors.Error):  # it is away: there is nobody to say good-bye to
            await faststream.stop()
        return not failed
