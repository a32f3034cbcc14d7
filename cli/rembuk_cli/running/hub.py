"""The hub's start, and how regions are admitted to it and turned away."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import typer
from rembuk.embedded.region import PORT_OFFSETS, BadRegionName, require_name
from rembuk.embedded.server import HOST, EmbeddedError
from rembuk.federation.hub_regions import DOMAIN
from rembuk.process import state_file
from rembuk.proof.signed_note import BadVerifierKey, Verifier
from rembuk.settings import BadSetting, handed_on

from rembuk_cli.home.hub_directory import Gate, HubHome
from rembuk_cli.home.plan import Plan
from rembuk_cli.home.usual import usual_place
from rembuk_cli.region.hub_leaves import cut_off
from rembuk_cli.running.starting import CannotStart, already, start, stay, tell
from rembuk_cli.terminal.options import WRONG, cannot_run, suggested
from rembuk_cli.terminal.writing import err, escape, escape_lines, out

PORT_BASE, LEAF_PORT = 8100, 7422


def hub_in(data: Path | None) -> HubHome:
    """Raises AnothersDirectory, Damaged."""
    home = HubHome(data if data is not None else usual_place(DOMAIN))
    home.require_owner(DOMAIN)
    return home


def start_hub(home: HubHome, port_base: int, listen: str | None, hosts: list[str] | None, detach: bool) -> None:
    """Start it and say where everything is; wait for its end unless it is to be detached. Ends the command where it
    cannot be started."""
    if (running := home.running()) is not None:
        already(home, running)
        return
    try:
        services = handed_on(os.environ)
    except BadSetting as error:
        cannot_run(escape_lines(str(error)))
    before = home.gate() or Gate(f"{HOST}:{LEAF_PORT}", (HOST, "localhost"))
    gate = Gate(listen or before.listen, tuple(hosts or before.hosts))
    home.open(gate)
    ports = {DOMAIN: port_base + 1} | {name: port_base + PORT_OFFSETS[name] for name in ("nats", "postgres")}
    try:
        supervisor = start(Plan(DOMAIN, str(home.data), ports, extra=services, hub=True), not detach)
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


def admit(home: HubHome, region: str, place: Path, log_keys: Path | None = None) -> None:
    """Write the invitation by which a region joins, and witness its logs where their keys are given. Ends the command
    for a region that is admitted already, unless that is asked about its logs."""
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
            state_file.write_json(place, invitation)
    except (BadRegionName, BadVerifierKey, OSError, UnicodeDecodeError) as error:
        cannot_run(escape_lines(str(error)))
    take_effect(home, region)
    out.print(f"{region} is admitted; its operators join with: rembuk up --region {region} --hub {place}")


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


def take_effect(home: HubHome, region: str) -> None:
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
