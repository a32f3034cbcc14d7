"""`rembuk hub up, down, status`: run the hub that regions join, and see whether all goes on."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rembuk.embedded.server import HOST
from rembuk.federation.hub_regions import DOMAIN
from rich.table import Table

from rembuk_cli.home.disk import full
from rembuk_cli.region.hub_leaves import FOR_NATS_S
from rembuk_cli.region.processes import missing_processes
from rembuk_cli.running.hub import LEAF_PORT, PORT_BASE, hub_in, start_hub
from rembuk_cli.running.stopping import stop
from rembuk_cli.terminal.options import WRONG, Data, Json, cannot_run, require_running
from rembuk_cli.terminal.writing import err, escape, escape_lines, out, write_json

WELL = ("level", "behind")


def up(
    data: Data = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the hub is ready.")] = False,
    port_base: Annotated[
        int,
        typer.Option(
            "--port-base",
            min=1024,
            max=65_000,
            envvar="REMBUK_HUB_PORT_BASE",
            help="Take P+1 for the hub, P+4 for NATS, P+5 for PostgreSQL.",
        ),
    ] = PORT_BASE,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            envvar="REMBUK_HUB_LISTEN",
            help=f"Listen here for the regions' nats-servers; {HOST}:{LEAF_PORT} at first.",
        ),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="A name or address by which regions reach it; the first goes into invitations."),
    ] = None,
) -> None:
    """Run the hub: PostgreSQL, NATS, and the service that watches over the regions' streams. Its listen
    address and names are saved.

    Example: rembuk hub up --listen 0.0.0.0:7422 --host hub.polri.example --detach
    """
    start_hub(hub_in(data), port_base, listen, host, detach)


def down(data: Data = None) -> None:
    """Stop the hub; its data stays. Regions go on without it.

    Example: rembuk hub down
    """
    stop(hub_in(data))


def status(data: Data = None, as_json: Json = False) -> None:
    """How far the hub knows each region, and whether it goes on; exit code 1 where a region is cut off, stalled or
    diverged.

    Example: rembuk hub status --json
    """
    import httpx

    home = hub_in(data)
    running = require_running(home)
    faults = full(home, running) + missing_processes(running)
    try:
        told = httpx.get(f"{running.urls[DOMAIN]}/v1/regions", timeout=FOR_NATS_S).raise_for_status().json()
    except httpx.HTTPError as error:
        cannot_run(escape_lines("\n".join([f"the hub does not answer: {error}; see {home.logs}", *faults])))
    streams = [(region["name"], stream) for region in told if not region["revoked_at"] for stream in region["streams"]]
    if as_json:
        write_json(json.dumps(told))
    else:
        table = Table("region", "stream", "is", "position", "behind by", "last answer")
        for name, one in streams:
            behind = f"{one['behind_events']:,} events, {one['behind_s']:.0f} s" if one["behind_events"] else "nothing"
            state = escape(one["state"].replace("_", " "))
            coloured = state if one["state"] in WELL else f"[red]{state}[/]"
            answered = one["answered_at"] or "never"
            table.add_row(
                escape(name), escape(one["service"]), coloured, f"{one['position']:,}", behind, escape(answered[:19])
            )
        out.print(table, soft_wrap=False)
        for said in dict.fromkeys(f"{name}: {one['error']}" for name, one in streams if one["error"]):
            out.print(f"[red]{escape(said)}[/]")
    for fault in (faults := faults + home.faults()):
        err.print(f"[red]{escape(fault)}[/]")
    if faults or any(one["state"] not in WELL or one["error"] for _, one in streams):
        raise typer.Exit(WRONG)
