"""`rembuk hub`: run the hub that regions join, admit regions and turn them away."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rembuk.embedded.region import PORT_OFFSETS, BadRegionName, require_name
from rembuk.embedded.server import HOST, EmbeddedError
from rembuk.federation.hub_regions import DOMAIN
from rembuk.process import state_file
from rembuk.proof.signed_note import BadVerifierKey, Verifier
from rich.table import Table

from rembuk_cli.commands.down import stop
from rembuk_cli.commands.hub_nats import nats
from rembuk_cli.commands.up import CannotStart, already, start, stay, tell
from rembuk_cli.home.directory import Plan, passed_on, usual_place
from rembuk_cli.home.disk import full
from rembuk_cli.home.hub_directory import Gate, HubHome
from rembuk_cli.region.hub_leaves import FOR_NATS_S, cut_off
from rembuk_cli.region.processes import missing_processes
from rembuk_cli.terminal.answering import group
from rembuk_cli.terminal.options import WRONG, Data, Json, cannot_run, require_running, suggested
from rembuk_cli.terminal.writing import err, escape, escape_lines, out, write_json

app = group("The hub: where the streams of all regions come together.")

app.command()(nats)

PORT_BASE, LEAF_PORT = 8100, 7422
WELL = ("level", "behind")
Name = Annotated[str, typer.Argument(help="The region's name.")]


@app.command()
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
    home = _home(data)
    if (running := home.running()) is not None:
        already(home, running)
        return
    before = home.gate() or Gate(f"{HOST}:{LEAF_PORT}", (HOST, "localhost"))
    gate = Gate(listen or before.listen, tuple(host or before.hosts))
    home.open(gate)
    ports = {DOMAIN: port_base + 1} | {name: port_base + PORT_OFFSETS[name] for name in ("nats", "postgres")}
    try:
        supervisor = start(Plan(DOMAIN, str(home.data), ports, extra=passed_on(os.environ), hub=True), not detach)
    except CannotStart as error:
        cannot_run(escape_lines(str(error)))
    running = home.running()
    if running is None:
        cannot_run(f"the hub ended at once; see {home.logs / 'supervisor.log'}")
    out.print(f"{'for regions':14} {gate.url}")
    if detach:
        tell(home, running)
    else:
        stay(home, running, supervisor)


@app.command()
def down(data: Data = None) -> None:
    """Stop the hub; its data stays. Regions go on without it.

    Example: rembuk hub down
    """
    stop(_home(data))


@app.command()
def admit(
    region: Name,
    to: Annotated[
        Path | None, typer.Option("--to", help="Where to write its invitation; without it <region>.hub.json here.")
    ] = None,
    log_keys: Annotated[
        Path | None,
        typer.Option("--log-keys", help="Witness its logs: a file with the output of `rembuk receipt keys`."),
    ] = None,
    data: Data = None,
) -> None:
    """Admit a region: write the invitation by which it joins. Give it to its operators alone: whoever has it is that
    region. With --log-keys also for a region that is admitted already; it keeps its invitation.

    Example: rembuk hub admit jatim --to jatim.hub.json
    """
    home = _home(data)
    if home.gate() is None:
        cannot_run(f"there is no hub in {home.data}; start one with: {suggested('hub up')}")
    try:
        require_name(region)
        if log_keys is not None:
            _witness(home, region, log_keys)
            if any(one.name == region and one.revoked_at is None for one in home.regions.read()):
                return
        with home.regions.changing() as regions:
            if any(one.name == region and one.revoked_at is None for one in regions):
                cannot_run(
                    f"{region} is admitted already; if its invitation is lost: {suggested(f'hub revoke {region}')}"
                )
            invitation = home.invite(regions, region)
            place = to or Path(f"{region}.hub.json")
            state_file.write_json(place, invitation)
    except (BadRegionName, BadVerifierKey, OSError, UnicodeDecodeError) as error:
        cannot_run(escape_lines(str(error)))
    _apply(home, region)
    out.print(f"{region} is admitted; its operators join with: rembuk up --region {region} --hub {place}")


@app.command()
def revoke(region: Name, data: Data = None) -> None:
    """Turn a region away: its connection ends at once. What the hub has of it stays.

    Example: rembuk hub revoke jatim
    """
    home = _home(data)
    with home.regions.changing() as regions:
        for number, one in enumerate(regions):
            if one.name == region and one.revoked_at is None:
                regions[number] = msgspec.structs.replace(one, revoked_at=datetime.now(UTC))
                break
        else:
            cannot_run(f"{escape(region)} is not admitted; see: {suggested('hub regions')}")
    _apply(home, region)
    out.print(f"{region} is turned away")


@app.command()
def regions(data: Data = None, as_json: Json = False) -> None:
    """Which regions are admitted, and which were turned away.

    Example: rembuk hub regions --json
    """
    known = _home(data).regions.read()
    if as_json:
        write_json(msgspec.json.encode(known))
        return
    for one in known:
        since = f"turned away {one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else "admitted"
        out.print(f"{one.name:16} {since}, invited {one.admitted_at:%Y-%m-%d %H:%M}")


@app.command()
def status(data: Data = None, as_json: Json = False) -> None:
    """How far the hub knows each region, and whether it goes on; exit code 1 where a region is cut off, stalled or
    diverged.

    Example: rembuk hub status --json
    """
    import httpx

    home = _home(data)
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


def _witness(home: HubHome, region: str, log_keys: Path) -> None:
    """Be the witness of these logs as well, which have to be the region's. Raises BadVerifierKey, OSError."""
    lines = [line.partition("#")[0].strip() for line in log_keys.read_text().splitlines()]
    keys = [Verifier.of(line) for line in lines if line]
    for key in keys:
        if not key.name.startswith(f"polmas/{region}/"):
            cannot_run(f"{escape(str(log_keys))}: {escape(key.name)} is no log of {region}")
    known = home.witnessed_logs.read_text().splitlines()
    fresh = [str(key) for key in keys if str(key) not in known]
    state_file.write(home.witnessed_logs, "".join(f"{line}\n" for line in [*known, *fresh]).encode())
    running = home.running()
    prefix = f"{running.urls[DOMAIN]}/v1/witness" if running else "<the hub's URL>/v1/witness"
    out.print(f"{len(fresh)} logs of {region} are witnessed now, at {prefix}; the witness's key is at {prefix}/key")


def _home(data: Path | None) -> HubHome:
    home = HubHome(data if data is not None else usual_place(DOMAIN))
    home.require_owner(DOMAIN)
    return home


def _apply(home: HubHome, region: str) -> None:
    """Have the nats-server that runs hear of a change, and end what is connected as this region by an invitation that
    does not count any more; a server that does not run is told when it starts."""
    if (running := home.running()) is None:
        return
    nats_server = home.nats(DOMAIN, running.ports["nats"])
    try:
        nats_server.reload()
    except EmbeddedError as error:
        cannot_run(f"the list is changed, and NATS does not take it: {escape_lines(str(error))}")
    if nats_server.pid is not None and not asyncio.run(cut_off(home, running, region)):
        err.print(f"[red]{region} is still connected as before[/]; end that with: {suggested('hub down')}")
        raise typer.Exit(WRONG)
