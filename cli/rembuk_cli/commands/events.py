"""`rembuk events`: read the log of one service or of all, or follow it on NATS as another system would."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Annotated

import typer
from rembuk.postgres.provisioning import SERVICES

from rembuk_cli.region.event_lines import show
from rembuk_cli.region.services import require_service
from rembuk_cli.terminal.moments import moment
from rembuk_cli.terminal.options import Data, Json, RegionName, cannot_run, home_of, require_running
from rembuk_cli.terminal.writing import escape, write_json


def events(
    service: Annotated[str | None, typer.Argument(help="reports, forums or notifications; all unless named.")] = None,
    area: Annotated[str, typer.Option(help="About this area and everything below it: a code, 35.78.")] = "",
    event_type: Annotated[str, typer.Option("--type", help="Only events of this type: ProblemReported.")] = "",
    since: Annotated[str, typer.Option(help="From then on: 2026-01-31T08:00, or 10m, 2h, 3d ago.")] = "",
    until: Annotated[str, typer.Option("--until", help="Before then; written like --since.")] = "",
    actor: Annotated[str, typer.Option("--actor", help="Only what this actor did: reaction:agreements.")] = "",
    correlation: Annotated[str, typer.Option("--correlation", help="Only what belongs to this correlation id.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Wait for what comes, on NATS, until Ctrl-C.")] = False,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Read the log, all services merged by time; or follow the streams from now on (from --since on, if given).

    --json writes one CloudEvent a line.

    Example: rembuk events reports --area 35.78 --type ProblemReported --since 2h
    """
    from rembuk.areas.former import unknown_area
    from rembuk.areas.lookup import areas

    from rembuk_cli.region.log_reading import CODECS, EventFilter, follow_streams, read_logs

    home = home_of(region, data)
    running = require_running(home)
    if service is not None:
        require_service(service)
    chosen = (service,) if service else SERVICES
    types = {name for codec in CODECS.values() for name in codec.types}
    if event_type and event_type not in types:
        cannot_run(f"--type {escape(event_type)}: there is no such event; there are {', '.join(sorted(types))}")
    if area and area not in areas():
        cannot_run(f"--area {escape(area)}: {escape(unknown_area(area))}")
    if until and follow:
        cannot_run("--follow has no --until: it goes on until Ctrl-C")
    wanted = EventFilter(
        chosen, area, event_type, moment(since, "--since"), moment(until, "--until"), actor, correlation,
    )  # fmt: skip
    seen = home.running_region(running)
    source = follow_streams(seen, wanted) if follow else read_logs(seen, wanted)

    async def tell() -> None:
        async with aclosing(source):  # in order, whoever reads along has enough or not
            async for told in source:
                write_json(told.json(), flush=follow) if as_json else show(told)

    with suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(tell())
