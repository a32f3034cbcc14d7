"""The worker process beside a service's API: relay, signer, eraser, followers, and what else runs beside them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import nats.errors
import structlog
from faststream.nats import NatsBroker
from nats.aio.msg import Msg

from rembuk.broker import nats_wire
from rembuk.broker.connecting import broker, connect
from rembuk.flow.following import Follower
from rembuk.flow.handler import Handler
from rembuk.log.relay import Relay
from rembuk.partners.partner_consumers import Consumers
from rembuk.partners.partners import Partners
from rembuk.partners.webhooks import Webhooks
from rembuk.process.cancelling import cancel
from rembuk.sealing.erasing import Eraser
from rembuk.settings import Settings
from rembuk.transparency.log_key import signers
from rembuk.transparency.signing import Signing
from rembuk.witness.cosigning import Cosigning

_log = structlog.get_logger(__name__)

Task = Callable[[], Coroutine[Any, Any, None]]
"""Runs until cancelled; heals what can heal by itself."""


def follower_of(broker: NatsBroker, settings: Settings, handler: Handler, *beside: Handler) -> Follower:
    """One reading of a stream, for a handler and for others `beside` it, whose checkpoints it holds together with its
    own: each gets what it has not seen, whether or not another one fails.

    Durable consumers are named after service and follower, and after the stream's service where that is another: one
    follower may follow several."""
    handlers = (handler, *beside)

    async def position() -> int:
        return min([await one.checkpoint.position() for one in handlers])

    async def process(messages: list[Msg]) -> None:
        failure: Exception | None = None
        for one in handlers:
            try:
                await one.process(messages)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    checkpoint = handler.checkpoint
    source = checkpoint.stream.lower().rpartition("_")[2]
    name = f"{settings.name}_{checkpoint.follower}"
    if source != settings.service:
        name += f"_{source}"
    return Follower(broker, checkpoint.stream, name, position, process)


class SideBySide:
    """What is done at once until it is to stop, or until a part of it ends that was not to end: whoever runs it is then
    started again, and all of it with it."""

    def __init__(self) -> None:
        self.failed = False
        self.stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Have it done beside the rest for as long as they are."""
        self._begin(work, name, self._ended)

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Have done beside the rest what ends by itself; the rest ends where it fails."""
        self._begin(work, name, self._begun)

    def stop_by_signal(self) -> None:
        """SIGTERM and SIGINT say that it is to stop."""
        for ending in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(ending, self.stopping.set)

    async def cancel(self) -> None:
        await cancel(self._tasks)

    def _begin(self, work: Coroutine[Any, Any, None], name: str, ended: Callable[[asyncio.Task[None]], None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(ended)

    def _begun(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._ended(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self.stopping.is_set() and error is None:
            return
        self.failed = True
        self.stopping.set()
        _log.critical("a part of the worker ended", task=task.get_name(), exc_info=error)


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
        pause_s = settings.witnessing.tree_head_s
        signer = signers(settings)[0]
        self._signing = Signing(settings.database_url, settings.region, settings.service, signer, pause_s)
        self._webhooks = Webhooks.told(settings)
        self._cosigning = Cosigning.told(settings, pause_s)

    async def run(self) -> bool:
        """Whether it stopped because it was told to, and not because something failed."""
        settings = self._settings
        side_by_side = SideBySide()
        side_by_side.stop_by_signal()

        async def work() -> None:
            for hook in self._start:
                await hook()
            side_by_side.keep(self._signing.run(), "signing")
            side_by_side.keep(Eraser(settings.database_url).run(), "eraser")
            side_by_side.keep(self._cosigning.run(), "cosigning")
            if self._webhooks is not None:
                side_by_side.keep(self._webhooks.run(), "webhooks")
            client = await connect(settings.nats_url, f"{settings.name} relay")
            relay = Relay(settings.database_url, client, settings.region, settings.service)
            side_by_side.keep(relay.run(), "relay")
            if (partners := Partners.named(settings.partners.roster)) is not None:
                consumers = Consumers(client, settings.region, settings.service, partners)
                side_by_side.keep(consumers.run(), "partners' consumers")
            nats_wire.quicken(await faststream.connect())
            for handler in self._handlers:
                follower = follower_of(faststream, settings, handler)
                running.append(follower)
                side_by_side.begin(follower.start(), follower.name)
            for place, task in enumerate(self._tasks):
                side_by_side.keep(task(), f"task {place}")
            _log.info("worker runs")

        faststream = broker(settings.nats_url, f"{settings.name} followers")
        running: list[Follower] = []
        side_by_side.begin(work(), "start")
        await side_by_side.stopping.wait()
        _log.info("worker stops")
        await asyncio.gather(*(follower.stop() for follower in running), return_exceptions=True)
        await side_by_side.cancel()
        for hook in self._stop:
            await hook()
        with suppress(nats.errors.Error):  # it is away: there is nobody to say good-bye to
            await faststream.stop()
        return not side_by_side.failed
