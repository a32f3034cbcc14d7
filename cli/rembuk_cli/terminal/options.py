"""What several commands ask and answer in the same way: which region, JSON or not, exit codes."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rembuk.federation.hub_regions import DOMAIN

from rembuk_cli.home.directory import Home
from rembuk_cli.home.running import Running
from rembuk_cli.home.usual import USUAL, usual_place
from rembuk_cli.terminal.writing import err

WRONG, CANNOT_RUN = 1, 2
"""Exit codes beside 0: something is wrong with what was looked at; the command could not do its work."""

RegionName = Annotated[
    str,
    typer.Option("--region", show_default=f"whose --data is, or {USUAL}", help="The region's name, a lower-case word."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Its directory; without it .rembuk/<region>, or .rembuk/hub.", file_okay=False),
]
PortBase = Annotated[
    int | None,
    typer.Option(
        "--port-base", min=1024, max=65_000, envvar="REMBUK_PORT_BASE",
        help="Take P+1..P+3 for services, P+4 for NATS, P+5 for PostgreSQL; without it 8001..8003, 4222, 5433.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]

_options = ContextVar("_options", default="")
"""How a command that we suggest finds the region that ours is about."""


def program() -> str:
    """How the reader of a hint can call us: `.venv/bin/rembuk` in a checkout."""
    ours, here = Path(sys.executable).with_name("rembuk"), Path.cwd()
    return str(ours.relative_to(here)) if ours.is_relative_to(here) else "rembuk"


def suggested(command: str) -> str:
    """A command of ours as the reader of a hint can paste it, about the same region."""
    return f"{program()} {command}{_options.get()}"


def home_of(region: str, data: Path | None) -> Home:
    """Where a region is; what is suggested from now on is about it. Ends the command for the hub, which is none."""
    if region == DOMAIN:
        cannot_run(f"'{DOMAIN}' is what the hub of all regions is called; see: {program()} hub --help")
    return region_or_hub(region, data)


def region_or_hub(name: str, data: Path | None) -> Home:
    """Where a region is, or the hub by its name. Raises AnothersDirectory."""
    name = _meant(name, data)
    place = data if data is not None else usual_place(name)
    if name == DOMAIN:
        from rembuk_cli.home.hub_directory import HubHome  # its libraries are nothing to who asks about a region

        home: Home = HubHome(place)
    else:
        home = Home(place)
    home.require_owner(name)
    _options.set(home.options(name))
    return home


def _meant(region: str, data: Path | None) -> str:
    """The region that is named; where only a directory is, the one that it belongs to."""
    owner = Home(data).owner() if data is not None and not region else None
    return region or (owner if owner is not None and owner != DOMAIN else USUAL)


def require_running(home: Home) -> Running:
    """What runs there; ends the command when nothing does."""
    running = home.running()
    if running is None:
        start = suggested("up").replace(f"up --region {DOMAIN}", "hub up")
        cannot_run(f"nothing runs in {home.data}; start it with: {start}")
    return running


def cannot_run(why: str) -> NoReturn:
    err.print(f"[red]rembuk:[/] {why}", soft_wrap=True)
    raise typer.Exit(CANNOT_RUN)
