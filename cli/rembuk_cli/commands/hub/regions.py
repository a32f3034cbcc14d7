"""`rembuk hub admit, revoke, regions`: which regions may join the hub."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rembuk_cli.running import hub
from rembuk_cli.running.hub import hub_in, take_effect
from rembuk_cli.terminal.options import Data, Json, cannot_run, suggested
from rembuk_cli.terminal.writing import escape, out, write_json

Name = Annotated[str, typer.Argument(help="The region's name.")]


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
    hub.admit(hub_in(data), region, to or Path(f"{region}.hub.json"), log_keys)


def revoke(region: Name, data: Data = None) -> None:
    """Turn a region away: its connection ends at once. What the hub has of it stays.

    Example: rembuk hub revoke jatim
    """
    home = hub_in(data)
    with home.regions.changing() as regions:
        for number, one in enumerate(regions):
            if one.name == region and one.revoked_at is None:
                regions[number] = msgspec.structs.replace(one, revoked_at=datetime.now(UTC))
                break
        else:
            cannot_run(f"{escape(region)} is not admitted; see: {suggested('hub regions')}")
    take_effect(home, region)
    out.print(f"{region} is turned away")


def regions(data: Data = None, as_json: Json = False) -> None:
    """Which regions are admitted, and which were turned away.

    Example: rembuk hub regions --json
    """
    known = hub_in(data).regions.read()
    if as_json:
        write_json(msgspec.json.encode(known))
        return
    for one in known:
        since = f"turned away {one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else "admitted"
        out.print(f"{one.name:16} {since}, invited {one.admitted_at:%Y-%m-%d %H:%M}")
