"""`rembuk demo --regions 3`: regions and their hub on one machine; one is cut off, goes on, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from rembuk.areas.lookup import areas
from rembuk.embedded.server import HOST
from rembuk.federation.hub_regions import DOMAIN
from rich.table import Table

from rembuk_cli.demo import simulating
from rembuk_cli.demo.simulating import SURABAYA
from rembuk_cli.home.directory import Home
from rembuk_cli.home.running import Running
from rembuk_cli.home.usual import DEFAULT_PORT_BASE, USUAL, usual_place
from rembuk_cli.running.hub import PORT_BASE, admit, hub_in, start_hub
from rembuk_cli.running.joining import join
from rembuk_cli.running.starting import CannotStart, plan, start
from rembuk_cli.terminal.options import cannot_run, program, suggested
from rembuk_cli.terminal.writing import err, escape_lines, out

CITIES = {
    USUAL: SURABAYA, "jabar": "32.73", "bali": "51.71", "sulsel": "73.71", "sumut": "12.71", "papua": "91.71",
}  # fmt: skip
"""Regions and the city in which something happens: Surabaya, Bandung, Denpasar, Makassar, Medan, Jayapura."""
PORTS = 10
"""From one region's port base to the next one's."""
HUB_OFFSET = PORT_BASE - DEFAULT_PORT_BASE
"""From the first region's port base to the hub's, so that it is where a hub is anyway."""
LEAF_OFFSET = 6
MINUTES_EACH = 0.7
PROBLEMS, SEED = 200, 1
PATIENCE_S = 120.0


def demo_regions(count: int, data: Path | None, port_base: int, problems: int | None) -> None:
    """Start a hub and regions in `data` (.rembuk unless said otherwise), have problems reported in each, cut the last
    one off, report more there, and heal it. All of it is left running."""
    names, many = list(CITIES)[:count], PROBLEMS if problems is None else problems
    places = {name: data / name if data else usual_place(name) for name in (DOMAIN, *names)}
    _require_none_runs(places, count)
    base = port_base + HUB_OFFSET
    out.print(f"{count} regions and their hub on this machine: about {1 + count * MINUTES_EACH:.0f} minutes")
    out.print("\n[bold]1 of 4: the hub and the regions are started[/]")
    start_hub(hub_in(places[DOMAIN]), base, f"{HOST}:{base + LEAF_OFFSET}", None, detach=True)
    url = _running(Home(places[DOMAIN])).urls[DOMAIN]
    for number, name in enumerate(names):
        _join(name, places, port_base + PORTS * number)
    out.print("\n[bold]2 of 4: problems are reported in every region[/]")
    heads = {name: _report(places[name], name, SEED, many) for name in names}
    _show(_wait(url, _level(heads)))
    lone = names[-1]
    out.print(f"\n[bold]3 of 4: {lone} is cut off from the hub: its people notice nothing[/]")
    _link(lone, places[lone], linked=False)
    heads[lone] = _report(places[lone], lone, SEED + 1, many)
    _show(_wait(url, _cut_off(lone)))
    out.print(f"\n[bold]4 of 4: {lone} is linked again: the hub gets what it missed, each event once[/]")
    healed = time.monotonic()
    _link(lone, places[lone], linked=True)
    _show(_wait(url, _level(heads)))
    out.print(f"level {time.monotonic() - healed:.0f} s after the link came back")
    out.print(f"\n[bold]The hub counts[/] ({url}/v1/counts?by=region)")
    for one in httpx.get(f"{url}/v1/counts", params={"by": "region"}).raise_for_status().json():
        out.print(f"{one['key']:8} {one['problems']:,} problems, {one['open']:,} of them open")
    where = "" if data is None else f" --data {data}/"
    out.print(f"\nlook at it:    {program()} hub status{where and where + DOMAIN}")
    for name in (DOMAIN, *names):
        command = "hub down" if name == DOMAIN else f"down --region {name}"
        out.print(f"stop it:       {program()} {command}{where and where + name}")


def _require_none_runs(places: dict[str, Path], count: int) -> None:
    """Ends the command where one runs, and says how to go on."""
    runs = {name: place for name, place in places.items() if Home(place).running()}
    if not runs:
        return
    stops = [
        f"hub down --data {place}" if name == DOMAIN else f"down --region {name} --data {place}"
        for name, place in runs.items()
    ]
    cannot_run(
        f"{', '.join(runs)} runs already, and the demo starts regions of its own. Run it beside them:\n"
        f"  {suggested(f'demo --regions {count} --data .rembuk-regions --port-base 9000')}\n"
        "or stop what runs first:\n" + "\n".join(f"  {suggested(stop)}" for stop in stops)
    )


def _join(name: str, places: dict[str, Path], port_base: int) -> None:
    """A region that is invited, accepts, and runs."""
    home, invitation = Home(places[name]), places[DOMAIN] / f"{name}.hub.json"
    if home.membership.invitation() is None:
        admit(hub_in(places[DOMAIN]), name, invitation)
        join(home, name, str(invitation))
        invitation.unlink()
    try:
        start(plan(home, name, port_base))
    except CannotStart as error:
        cannot_run(escape_lines(str(error)))
    out.print(f"{name} is up, in {areas()[CITIES[name]].name}: {_running(home).urls['reports']}")


def _report(place: Path, name: str, seed: int, many: int) -> int:
    """Simulated problems of a region's city; the position of the last event that came of them."""
    reports = _running(Home(place)).urls["reports"]
    return simulating.run(reports, 1, seed, many, CITIES[name]).position


def _link(name: str, place: Path, linked: bool) -> None:
    home = Home(place)
    home.nats(name, _running(home).ports["nats"], linked).reload()


def _running(home: Home) -> Running:
    running = home.running()
    if running is None:
        cannot_run(f"what was started in {home.data} has ended; see {home.logs}")
    return running


def _wait(url: str, until: Callable[[dict[str, list[Any]]], bool]) -> dict[str, list[Any]]:
    """How the hub says that the streams of each region stand, once it is so."""
    deadline = time.monotonic() + PATIENCE_S
    with err.status("waiting for the hub"):
        while True:
            told = httpx.get(f"{url}/v1/regions").raise_for_status().json()
            regions = {one["name"]: one["streams"] for one in told}
            if until(regions):
                return regions
            if time.monotonic() > deadline:
                cannot_run(f"the hub is not where it should be within {PATIENCE_S:.0f} s; see {url}/v1/regions")
            time.sleep(0.5)


def _level(heads: dict[str, int]) -> Callable[[dict[str, list[Any]]], bool]:
    """Whether the hub shows each region's reports up to these positions, and says that it is level with them."""

    def level(regions: dict[str, list[Any]]) -> bool:
        return all(
            one["state"] == "level" and (one["service"] != "reports" or one["shown"] >= head)
            for name, head in heads.items()
            for one in regions.get(name) or [{"state": "unknown"}]
        )

    return level


def _cut_off(name: str) -> Callable[[dict[str, list[Any]]], bool]:
    return lambda regions: {one["state"] for one in regions[name]} == {"cut_off"}


def _show(regions: dict[str, list[Any]]) -> None:
    table = Table("region", "reports at the hub", "it is")
    for name, streams in regions.items():
        for one in streams:
            if one["service"] == "reports":
                table.add_row(name, f"{one['shown']:,}", one["state"].replace("_", " "))
    out.print(table, soft_wrap=False)
