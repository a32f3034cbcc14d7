"""The command line of a service: `python -m reports api | worker | migrate`, and the errands of
`rembuk.operations.errands`.

What a service consists of, its `__main__` says; each process imports its own half only.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

import msgspec
import uvloop

from rembuk import tracing
from rembuk.process import logs
from rembuk.process.cancelling import cancel
from rembuk.process.garbage import look_seldom
from rembuk.process.open_files import open_files
from rembuk.service import Service, WorkerProcess
from rembuk.settings import CannotRun, Settings

GRACE_S = 15
"""How long a stopping API finishes the requests it has accepted."""

ERRAND_NICENESS = 10
"""How far behind the service's own processes an errand of minutes stands in line for a processor."""

MOST_CONNECTIONS = 10_000
"""That an API holds at a time, where it may have as many files open and a quarter more."""


def run(service: Service) -> None:
    """Run one process of a service; exits 2 when it cannot do its work, 1 when a part of it failed."""
    process, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    gc.disable()  # until _started
    try:
        settings = Settings.load(service.name)
        logs.configure(service.name, process)
        tracing.start(settings, process)
        match process, arguments:
            case "api", []:
                _serve(service, settings)
            case "worker", []:
                worker = service.worker(settings)
                _started()
                if not uvloop.run(_work(worker)):
                    sys.exit(1)
            case "migrate", []:
                _migrate(settings)
            case _:
                uvloop.run(_tell(service, settings, process, arguments))
    except CannotRun as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    finally:
        tracing.stop()


async def _work(worker: WorkerProcess) -> bool:
    """Run until it ends, and have whatever it left behind end, too: asyncio itself asks once, and would then wait."""
    ended_well = await worker.run()
    await cancel(asyncio.all_tasks() - {asyncio.current_task()})
    return ended_well


def _started() -> None:
    """What start-up made lives for ever, so nobody looked for garbage meanwhile, which was a sixth of its time, and
    collections need not look at it from now on."""
    gc.freeze()
    look_seldom()
    gc.enable()


def _serve(service: Service, settings: Settings) -> None:
    """Serve until SIGTERM, then finish what was accepted."""
    import uvicorn

    from rembuk.web.protocol import Connection
    from rembuk.web.room import Room

    # uvicorn raises the signal again once it has finished: then, as before it begins, to end is all there is to do
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = service.api(settings)
    _started()
    spare = open_files() // 4  # for all that is no connection, and for those that are about to be refused
    uvicorn.run(
        app, host=settings.host, port=settings.port, loop="uvloop",
        http=partial(Connection, Room(min(MOST_CONNECTIONS, 3 * spare))),  # type: ignore[arg-type]
        ws="none", lifespan="on", access_log=False, log_config=None, proxy_headers=False, server_header=False,
        timeout_graceful_shutdown=GRACE_S, backlog=min(2048, spare // 2),
    )  # fmt: skip


def _migrate(settings: Settings) -> None:
    from rembuk.postgres.migrations import upgrade

    _started()
    upgrade(settings.service, settings.owner_url, settings.name)


async def _tell(service: Service, settings: Settings, name: str, arguments: Sequence[str]) -> None:
    """Write what an errand answers, each a line of JSON; raises CannotRun. It leaves the processor to whoever serves
    people meanwhile."""
    from rembuk.operations.errands import USAGE, errand

    answers = errand(service, settings, name, arguments)
    if answers is None:
        usages = [f"{errand} {USAGE[errand]}" for errand in ([name] if name in USAGE else USAGE)]
        raise CannotRun(f"usage: python -m {settings.service} {' | '.join(['api | worker | migrate', *usages])}")
    _started()
    os.nice(ERRAND_NICENESS)
    with tracing.errand(f"{name} {settings.service}"):
        async for answer in answers:
            print(msgspec.json.encode(answer).decode(), flush=True)
