"""`rembuk demo`: a region, one story of Polmas played in it, and a month of a city's reports."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer
from rembuk.embedded.server import HOST
from rembuk.postgres.provisioning import SERVICES

from rembuk_cli.demo import simulating
from rembuk_cli.home.directory import Home
from rembuk_cli.home.running import Running
from rembuk_cli.home.usual import DEFAULT_PORT_BASE, SINK_OFFSET, USUAL, choose_ports
from rembuk_cli.running.starting import CannotStart, plan, start, tell
from rembuk_cli.terminal.options import Data, PortBase, RegionName, cannot_run, home_of, suggested
from rembuk_cli.terminal.writing import err, escape, escape_lines, out

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembuk_cli.demo.sink import DemoReceivers, Hook, Mail

DAYS, SEED = 30, 1


def demo(
    region: RegionName = "",
    data: Data = None,
    port_base: PortBase = None,
    problems: Annotated[int | None, typer.Option(min=0, help="How many problems are simulated; 67 a day.")] = None,
    regions: Annotated[
        int | None,
        typer.Option(min=2, max=6, help="Start this many regions and a hub instead; cut one off and link it again."),
    ] = None,
) -> None:
    """Bring a region up, play one story in Surabaya through the public APIs, show every event as another system sees
    it on NATS, and every e-mail and webhook as it arrives; then simulate a month. The region is left running.

    Example: rembuk demo --regions 3
    """
    if regions is not None:
        from rembuk_cli.demo.regions import demo_regions

        demo_regions(regions, data, port_base or DEFAULT_PORT_BASE, problems)
        return
    home = home_of(region, data)
    region = region or home.owner() or USUAL
    running = home.running() or _started(home, region, port_base)
    asyncio.run(_play(home, running))
    out.print("\n[bold]A month of Kota Surabaya, simulated[/]")
    simulating.run(running.urls["reports"], DAYS, SEED, problems, simulating.SURABAYA)
    out.print("\n[bold]The region is left running[/]")
    tell(home, running)
    out.print(f"look at it:    {suggested('status')}   {suggested('events --follow')}")
    out.print(f"API:           {running.urls['reports']}/schema")
    out.print(f"stop it:       {suggested('down')}")


def _started(home: Home, region: str, port_base: int | None) -> Running:
    """A region whose e-mails come to us; a server named by REMBUK_SMTP_URL goes before."""
    sink = {"REMBUK_SMTP_URL": _sink_url(choose_ports(port_base)), "REMBUK_WEBHOOK_PRIVATE": "allow"}
    extra = {name: value for name, value in sink.items() if name not in os.environ}
    try:
        start(plan(home, region, port_base, extra))
    except CannotStart as error:
        cannot_run(escape_lines(str(error)))
    running = home.running()
    if running is None:
        cannot_run(f"the region ended at once; see {home.logs / 'supervisor.log'}")
    out.print(f"region {region} is up: {', '.join(SERVICES)}, NATS and PostgreSQL")
    return running


async def _play(home: Home, running: Running) -> None:
    import httpx

    from rembuk_cli.demo.story import DISTRICT, Story
    from rembuk_cli.demo.watching import DemoWatch, NotSeen
    from rembuk_cli.region.log_reading import EventFilter

    watch = DemoWatch(home.running_region(running), EventFilter(SERVICES, DISTRICT))
    sink = await _sink(running, watch.arrived)
    watch.start()
    try:
        await Story(running.urls, watch, sink).play()
    except httpx.HTTPStatusError as refusal:
        cannot_run(escape(f"{refusal.request.url}: {refusal.response.status_code} {refusal.response.text}"))
    except (httpx.TransportError, NotSeen) as error:
        cannot_run(escape(f"{error}; see: {suggested('status')}"))
    finally:
        await watch.stop()
        if sink is not None:
            await sink.stop()


async def _sink(running: Running, arrived: Callable[[Mail | Hook], None]) -> DemoReceivers | None:
    """Where messages arrive; None where this region sends them elsewhere."""
    from rembuk_cli.demo.sink import DemoReceivers

    port = running.ports["console"] + SINK_OFFSET
    if running.smtp_url != _sink_url(running.ports):
        err.print(f"{running.region} was not started by the demo, so its e-mails and webhooks are left out")
        return None
    sink = DemoReceivers(arrived)
    try:
        await sink.start(port)
    except OSError as error:
        err.print(f"port {port} is taken, so e-mails and webhooks are left out: {error}")
        return None
    return sink


def _sink_url(ports: dict[str, int]) -> str:
    return f"smtp://{HOST}:{ports['console'] + SINK_OFFSET}"
