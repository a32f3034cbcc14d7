"""The command line of a service: `python -m reports api | worker | migrate`, and what an operator's command has done
by it: `replay ID [AS-OF]`, `retry FOLLOWER STREAM AGGREGATE`.

The API is what `<service>.app.build` returns, the worker what `<service>.worker.build` does; each process imports
its own half only.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from datetime import datetime
from importlib import import_module
from typing import Any
from uuid import UUID

import msgspec
import uvloop

from rembuk import logs
from rembuk.cancelling import cancel
from rembuk.settings import MissingSetting, Settings

GRACE_S = 15
"""How long a stopping API finishes the requests it has accepted."""

USAGE = {"api": "", "worker": "", "migrate": "", "replay": "ID [AS-OF]", "retry": "FOLLOWER STREAM AGGREGATE"}

KEEP_ALIVE_S = 65
"""How long an idle connection is kept: longer than clients (httpx: 5 s) and proxies (nginx: 60 s) do, so that it is
they who end it. A server that ends it first may do so in the moment in which a request is on its way."""


def main(service: str) -> None:
    """Run one process of a service; exits 2 when it is not told what it needs, 1 when a part of it failed."""
    process, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    try:
        if process not in USAGE:
            raise MissingSetting(f"usage: python -m {service} {'|'.join(USAGE)}")
        settings = Settings.load(service)
        logs.configure(service, process)
        match process, arguments:
            case "api", []:
                _serve(settings)
            case "worker", []:
                worker = import_module(f"{service}.worker").build(settings)
                _collect_seldom()
                if not uvloop.run(_work(worker)):
                    sys.exit(1)
            case "migrate", []:
                _migrate(settings)
            case "replay", [stream_id]:
                asyncio.run(_replay(settings, UUID(stream_id), None))
            case "replay", [stream_id, as_of]:
                asyncio.run(_replay(settings, UUID(stream_id), _position_or_moment(as_of)))
            case "retry", [follower, stream, aggregate]:
                print(asyncio.run(_retry(settings, follower, stream, aggregate)))
            case _:
                raise MissingSetting(f"usage: python -m {service} {process} {USAGE[process]}")
    except MissingSetting as error:
        print(error, file=sys.stderr)
        sys.exit(2)


async def _work(worker: Any) -> bool:
    """Run until it ends, and have whatever it left behind end, too: asyncio itself asks once, and would then wait."""
    ended_well: bool = await worker.run()
    await cancel(asyncio.all_tasks() - {asyncio.current_task()})
    return ended_well


def _collect_seldom() -> None:
    """What start-up made lives for ever: collections need not look at it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


def _serve(settings: Settings) -> None:
    """Serve until SIGTERM, then finish what was accepted."""
    import uvicorn

    from rembuk.web.protocol import Protocol

    # uvicorn raises the signal again once it has finished: then, as before it begins, to end is all there is to do
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = import_module(f"{settings.service}.app").build(settings)
    _collect_seldom()
    uvicorn.run(
        app, host=settings.host, port=settings.port, loop="uvloop", http=Protocol, ws="none", lifespan="on",
        access_log=False, log_config=None, proxy_headers=False, server_header=False,
        timeout_graceful_shutdown=GRACE_S, timeout_keep_alive=KEEP_ALIVE_S, backlog=2048,
    )  # fmt: skip


def _migrate(settings: Settings) -> None:
    from rembuk.migrations import upgrade

    upgrade(settings.service, settings.owner_url, settings.name)


def _position_or_moment(text: str) -> int | datetime:
    """A position, or a moment in ISO 8601 with its zone."""
    return int(text) if text.isdecimal() else datetime.fromisoformat(text)


async def _replay(settings: Settings, stream_id: UUID, as_of: int | datetime | None) -> None:
    """Write each step as a line of JSON: the event as a CloudEvent, and the rows after it."""
    from rembuk.cloud_events import cloud_event
    from rembuk.replaying import replay

    service = settings.service
    codec = import_module(f"rembuk.contracts.{service}").CODEC
    project = import_module(f"{service}.projection").project
    tables = import_module(f"{service}.tables").metadata.sorted_tables
    async for step in replay(settings.owner_url, codec, project, tables, stream_id, as_of):
        event = cloud_event(settings.region, service, step.event)
        print(msgspec.json.encode({"event": event, "state": step.state}).decode(), flush=True)


async def _retry(settings: Settings, follower: str, stream: str, aggregate: str) -> int:
    """Have a follower take what it has in quarantine of an aggregate; how many events are left."""
    from rembuk.database import connect
    from rembuk.event_log import EventLog

    codec = import_module(f"rembuk.contracts.{settings.service}").CODEC
    log = EventLog(settings.database_url, codec, f"{settings.name} retry")
    handlers = import_module(f"{settings.service}.worker").handlers(settings, log)
    by_name = {(handler.checkpoint.follower, handler.checkpoint.stream): handler for handler in handlers}
    if (follower, stream) not in by_name:
        raise MissingSetting(f"{settings.service} has no follower {follower} of {stream}")
    await log.start()
    connection = await connect(settings.database_url, f"{follower} retry")
    try:
        left: int = await by_name[follower, stream].retry(connection, aggregate)
        return left
    finally:
        connection.terminate()
        await log.stop()
