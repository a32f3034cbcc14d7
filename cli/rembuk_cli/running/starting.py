"""Starting a region or the hub: what to run, the supervisor's progress, and where everything is."""

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

import typer
from rembuk.embedded.region import BadRegionName, require_name
from rembuk.process.lifeline import end_with_us
from rembuk.settings import BadSetting, CommandSettings, handed_on, read_settings

from rembuk_cli.home.directory import Home
from rembuk_cli.home.plan import Plan
from rembuk_cli.home.running import Running
from rembuk_cli.home.usual import choose_ports
from rembuk_cli.region.ready import answers_ready
from rembuk_cli.region.stop_links import stop_links
from rembuk_cli.running.stopping import stop
from rembuk_cli.terminal.options import WRONG, cannot_run, suggested
from rembuk_cli.terminal.writing import err, escape, escape_lines, out

PATIENCE_S = 30.0
"""How long `up` waits for a region that runs already."""
POLL_S = 0.1


class CannotStart(Exception):
    """The region could not be started; says why."""


def plan(home: Home, region: str, port_base: int | None, extra: dict[str, str] | None = None) -> Plan:
    """What to run, with what our environment says about it."""
    try:
        require_name(region)
        ours, services = read_settings(CommandSettings, os.environ), handed_on(os.environ)
    except (BadRegionName, BadSetting) as error:
        cannot_run(escape_lines(str(error)))
    return Plan(
        region=region,
        data=str(home.data),
        ports=choose_ports(port_base),
        postgres_url=ours.postgres_url,
        nats_url=ours.nats_url,
        extra=services | (extra or {}),
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
