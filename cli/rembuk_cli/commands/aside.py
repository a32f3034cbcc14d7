"""`rembuk aside`: what a server has kept goes out of the way, by date: nothing is deleted."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import EmbeddedPostgres

from rembuk_cli.home.lock import Occupied
from rembuk_cli.terminal.options import Data, RegionName, cannot_run, home_of, suggested
from rembuk_cli.terminal.writing import escape, out


class ServerDirectory(StrEnum):
    """Which server's directory."""

    POSTGRES = "postgres"
    NATS = "nats"


def aside(
    what: Annotated[list[ServerDirectory], typer.Argument(help="Whose data.")],
    region: RegionName = "",
    data: Data = None,
) -> None:
    """Move the data of PostgreSQL or NATS into `aside`, under the present time. Nothing is deleted; the region must not
    run.

    Harmless when nothing is there. Delete what lies in `aside` yourself, once `rembuk verify` finds all unaltered.

    Example: rembuk aside postgres
    """
    home = home_of(region, data)
    servers = (
        EmbeddedNats(home.data / ServerDirectory.NATS, 0),
        EmbeddedPostgres(home.data / ServerDirectory.POSTGRES, 0),
    )
    if home.running() is not None or any(server.pid is not None for server in servers):
        cannot_run(f"it runs in {escape(str(home.data))}; stop it first: {suggested('down')}")
    home.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        home.lock.hold()
    except Occupied as error:
        cannot_run(escape(str(error)))
    for one in dict.fromkeys(what):
        place, to = home.data / one, home.data / "aside" / f"{one}.{datetime.now():%Y-%m-%dT%H%M%S}"
        if place.exists():
            to.parent.mkdir(mode=0o700, exist_ok=True)
            place.rename(to)
            out.print(f"{escape(str(place))} is now {escape(str(to))}")
        else:
            out.print(f"there is no {escape(str(place))}")
