"""`rembuk up`: run a region on this machine, nothing else installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rembuk_cli.home.key_files import COPIES
from rembuk_cli.home.usual import USUAL
from rembuk_cli.running.joining import invited, join
from rembuk_cli.running.starting import CannotStart, already, plan, start, stay, tell
from rembuk_cli.terminal.options import Data, PortBase, RegionName, cannot_run, home_of, suggested
from rembuk_cli.terminal.writing import escape_lines


def up(
    region: RegionName = "",
    data: Data = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when every service is ready.")] = False,
    port_base: PortBase = None,
    servers_only: Annotated[
        bool, typer.Option("--servers-only", help="PostgreSQL and NATS alone, to restore what was lost.")
    ] = False,
    new_region_key: Annotated[
        bool, typer.Option("--new-region-key", help="The region's key is lost for good: destroy what it sealed.")
    ] = False,
    new_log_key: Annotated[
        bool, typer.Option("--new-log-key", help="The log's key is lost for good: sign with another from now on.")
    ] = False,
    key_copies: Annotated[
        Path, typer.Option("--key-copies", help="Where copies of keys are kept: each is tried before any is given up.")
    ] = COPIES,
    hub: Annotated[
        str | None,
        typer.Option(
            "--hub", help="Join the hub by this invitation (a file), at another address (nats-leaf://...), or none."
        ),
    ] = None,
) -> None:
    """Run a region: PostgreSQL, NATS, and an API and a worker of reports, forums and notifications.

    REMBUK_POSTGRES_URL and REMBUK_NATS_URL name servers to use instead of embedded ones; REMBUK_SMTP_URL,
    REMBUK_SMTP_FROM, REMBUK_NOTIFICATIONS_PUBLIC_URL, REMBUK_WEBHOOK_PRIVATE, REMBUK_DELIVERY_*, REMBUK_CODE_PAUSE_S,
    REMBUK_UNCONFIRMED_DAYS, REMBUK_REPORTS_RETENTION_DAYS, REMBUK_WITNESSES and REMBUK_WITNESSED_LOGS are handed to the
    services; the runbook says what each does.

    Example: rembuk up --region jatim --detach
    """
    home = home_of(region, data)
    region = region or home.owner() or USUAL
    if (running := home.running()) is not None:
        if hub is not None and invited(home, region, hub) != home.membership.invitation():
            cannot_run(f"{region} runs, and joins or leaves a hub when it starts; stop it first: {suggested('down')}")
        already(home, running)
        return
    if hub is not None:
        join(home, region, hub)
    try:
        wanted = msgspec.structs.replace(
            plan(home, region, port_base),
            servers_only=servers_only,
            new_region_key=new_region_key,
            new_log_key=new_log_key,
            key_copies=str(key_copies.absolute()),
        )
        supervisor = start(wanted, attached=not detach)
    except CannotStart as error:
        cannot_run(escape_lines(str(error)))
    running = home.running()
    if running is None:
        cannot_run(f"the region ended at once; see {home.logs / 'supervisor.log'}")
    if detach:
        tell(home, running)
    else:
        stay(home, running, supervisor)
