"""`rembuk up`: run a region on this machine, nothing else installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rembuk.embedded.region import BadRegionName, require_name
from rembuk.federation.hub_regions import Invitation
from rembuk.process.lifeline import end_with_us

from rembuk_cli.commands.down import stop
from rembuk_cli.home.directory import USUAL, Home, Plan, Running, choose_ports, passed_on
from rembuk_cli.home.key_files import COPIES
from rembuk_cli.region.stop_links import stop_links
from rembuk_cli.running.supervisor import answers_ready
from rembuk_cli.terminal.options import WRONG, Data, PortBase, RegionName, cannot_run, home_of, suggested
from rembuk_cli.terminal.writing import err, escape, escape_lines, out

PATIENCE_S = 30.0
"""How long `up` waits for a region that runs already."""
POLL_S = 0.1


class CannotStart(Exception):
    """The region could not be started; says why."""


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
        if hub is not None and invited(home, region, hub) != home.invitation():
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


def join(home: Home, region: str, hub: str) -> None:
    """Accept an invitation, or another address for the one that was accepted; decline it by `none`; it stays so."""
    if (invitation := invited(home, region, hub)) is None:
        home.decline()
        return
    home.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.accept(invitation)


def invited(home: Home, region: str, hub: str) -> Invitation | None:
    """The invitation that is named so; None for `none`. Ends the command where it is none, or another region's."""
    if hub == "none":
        return None
    try:
        if hub.startswith("nats-leaf://"):
            if (invitation := home.invitation()) is None:
                cannot_run(
                    f"there is no invitation to {escape(hub)}: name the file that `rembuk hub admit` has written"
                )
            invitation = msgspec.structs.replace(invitation, url=hub)
        else:
            invitation = msgspec.json.decode(Path(hub).read_bytes(), type=Invitation)
    except (OSError, msgspec.MsgspecError) as error:
        cannot_run(f"no invitation to a hub can be read from {escape(hub)}: {escape_lines(str(error))}")
    if invitation.region != region:
        cannot_run(f"the invitation is for {escape(invitation.region)}, this region is {region}")
    if invitation.fault:
        cannot_run(f"no invitation to a hub can be read from {escape(hub)}: {invitation.fault}")
    return invitation


def plan(home: Home, region: str, port_base: int | None, extra: dict[str, str] | None = None) -> Plan:
    """What to run, with what our environment says about it."""
    try:
        require_name(region)
    except BadRegionName as error:
        cannot_run(str(error))
    return Plan(
        region=region,
        data=str(home.data),
        ports=choose_ports(port_base),
        postgres_url=os.environ.get("REMBUK_POSTGRES_URL", ""),
        nats_url=os.environ.get("REMBUK_NATS_URL", ""),
        extra=passed_on(os.environ) | (extra or {}),
    )


def start(plan: Plan, attached: bool = False) -> subprocess.Popen[bytes]:
    """Start a supervisor and return when its region is ready; attached, it stops when we do. Who ends us meanwhile, by
    whatever signal, ends what was begun. Raises CannotStart."""
    with interrupted_by(signal.SIGTERM, signal.SIGHUP):
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "rembuk_cli.running.supervisor"],
            cwd="/",
            env=plan.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=end_with_us(signal.SIGTERM if attached else None),
        )
        try:
            follow_progress(supervisor, plan)
        except BaseException:
            supervisor.terminate()
            supervisor.wait()
            raise
    return supervisor


@contextmanager
def interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Have these signals do what Ctrl-C does, but for those that somebody (nohup) has us ignore."""
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) == signal.SIG_DFL}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def follow_progress(supervisor: subprocess.Popen[bytes], plan: Plan) -> None:
    """Show how far it is until it says that all is ready. Raises CannotStart."""
    assert supervisor.stdout is not None
    with supervisor.stdout as said, err.status(f"starting {plan.region}") as status:
        for line in said:
            match json.loads(line):
                case {"step": what}:
                    status.update(f"starting {plan.region}: {what}")
                case {"error": why}:
                    supervisor.wait()
                    raise CannotStart(why)
                case _:
                    return
    raise CannotStart(f"the supervisor ended while starting; see {Path(plan.data) / 'logs' / 'supervisor.log'}")


def already(home: Home, running: Running) -> None:
    """Say that it runs, once it is healthy; exit code 1 when it is not so in time."""
    if running.servers_only:
        cannot_run(f"only the servers of {running.region} run; stop them with: {suggested('down')}")
    with err.status(f"{running.region} already runs; waiting until it is ready"):
        deadline = time.monotonic() + PATIENCE_S
        while not all(answers_ready(running.ports[service]) for service in running.urls):
            if time.monotonic() > deadline or home.running() is None:
                err.print(f"[red]{running.region} runs, but not every service is ready[/]; see: {suggested('status')}")
                raise typer.Exit(WRONG)
            time.sleep(POLL_S)
    pid = running.supervisor.pid
    out.print(f"{running.region} already runs in {home.data} (pid {pid}); stop it with: {suggested('down')}")


def tell(home: Home, running: Running) -> None:
    """Where everything is."""
    for service, url in () if running.servers_only else running.urls.items():
        out.print(f"{service:14} {url}")
    out.print(f"{'nats':14} {running.nats_url}")
    out.print(f"{'postgres':14} {running.postgres_url}")
    out.print(f"{'data and logs':14} {home.data}")
    if not running.servers_only and (why := stop_links(running)):
        err.print(f"[yellow]{escape(why)}[/]")


def stay(home: Home, running: Running, supervisor: subprocess.Popen[bytes]) -> None:
    """Tell where everything is and wait for the supervisor's end; bring it about on Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tell(home, running)
        err.print("Ctrl-C stops it.")
        status = supervisor.wait()
    except KeyboardInterrupt:
        stop(home)
        return
    if status:
        cannot_run(f"the region ended; see {home.logs / 'supervisor.log'}")
