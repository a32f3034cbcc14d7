"""What the services of a region know: asked of their databases, or told by a process of their own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec
from rembuk.federation.hub_regions import DOMAIN
from rembuk.flow import standing
from rembuk.postgres.provisioning import SERVICES

from rembuk_cli.region.servers import database
from rembuk_cli.terminal.options import cannot_run
from rembuk_cli.terminal.unable import Unable
from rembuk_cli.terminal.writing import err, escape

if TYPE_CHECKING:
    import asyncpg
    from rembuk.embedded.region import RegionConfig

T = TypeVar("T")


def ask_each(
    region: RegionConfig, question: Callable[[asyncpg.Connection[Any]], Awaitable[T]], services: Sequence[str] = ()
) -> list[tuple[str, T]]:
    """The same question to the database of each service, or of those that are named: its name, and the answer. Raises
    Unable."""

    async def ask(service: str) -> T:
        async with database(region, service) as connection:
            return await question(connection)

    async def ask_all() -> list[tuple[str, T]]:
        return [(service, await ask(service)) for service in services or region.services]

    return asyncio.run(ask_all())


def set_back(region: RegionConfig, stream: str, position: int) -> list[str]:
    """Have whoever followed a stream beyond a position take from there what it will hold; the services concerned.
    What they made of the rest stays in their rows until a rebuild."""
    each = ask_each(region, lambda connection: standing.set_back(connection, stream, position))
    return [service for service, followers in each if followers]


def require_service(name: str) -> None:
    """Ends the command where there is no such service."""
    if name == DOMAIN:
        cannot_run("the hub records nothing of its own: the log is the region's; run this there")
    if name not in SERVICES:
        cannot_run(f"there is no service {escape(name)}; there are {', '.join(SERVICES)}")


def answers(form: Any, region: RegionConfig, service: str, errand: str, *arguments: str) -> Iterator[Any]:
    """What an errand answers in a process of its service, each answer of this form. Raises Unable where it fails."""
    return map(msgspec.json.Decoder(form).decode, told_by(region, service, errand, *arguments))


def told_by(region: RegionConfig, service: str, process: str, *arguments: str) -> Iterator[str]:
    """The lines that `python -m <service> <process> <arguments>` writes. Raises Unable where that fails."""
    running = region.spawn(service, process, subprocess.PIPE, arguments=arguments, errors=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    why: list[str] = []
    complaining = Thread(target=lambda errors: why.extend(_complaints(errors)), args=[running.stderr], daemon=True)
    complaining.start()
    for line in running.stdout:
        yield line.decode()
    complaining.join()
    if ended := running.wait():
        if ended < 0 and not why:
            why = [f"{signal.Signals(-ended).name} has ended it; what it had done by then stays done"]
        if any(line.startswith("Traceback") for line in why):
            why = why[-1:]  # which error it was; where it was raised helps nobody here
        raise Unable(f"{service} could not {process}: {chr(10).join(why).strip()}")


def _complaints(errors: IO[bytes]) -> Iterator[str]:
    """What a process says on stderr, read as it comes, lest it wait for us; but for the lines of its log."""
    lines = (line.decode(errors="replace").rstrip("\n") for line in errors)
    return (line for line in lines if not line.startswith("{"))


def side_by_side(*sources: Iterator[T]) -> Iterator[T]:
    """What several answer, as it comes; what one of them raises is raised when all have ended."""
    lines = SimpleQueue[T | None]()
    failed: list[BaseException] = []

    def read(source: Iterator[T]) -> None:
        try:
            for line in source:
                lines.put(line)
        except BaseException as error:
            failed.append(error)
        lines.put(None)

    for source in sources:
        Thread(target=read, args=[source], daemon=True).start()
    for _ in sources:
        yield from iter(lines.get, None)
    if failed:
        raise failed[0]


def watched(steps: Iterator[T], name: Callable[[Any], str]) -> Iterator[T]:
    """The steps that are answers; those that are progress move a bar for each `name` of theirs."""
    from rembuk.operations.steps import UnderWay
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}
        for step in steps:
            if not isinstance(step, UnderWay):
                yield step
                continue
            if (task := name(step)) not in tasks:
                tasks[task] = bar.add_task(task)
            bar.update(tasks[task], completed=step.position, total=step.target)
