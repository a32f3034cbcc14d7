"""`rembuk deliveries`: messages to subscribers that did not get through; look at them, have them tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Literal
from uuid import UUID

import msgspec
import typer
from rembuk.operations.steps import ListedDelivery, SentAgain

from rembuk_cli.region.services import answers
from rembuk_cli.terminal.answering import group
from rembuk_cli.terminal.options import WRONG, Data, Json, RegionName, cannot_run, home_of, require_running
from rembuk_cli.terminal.writing import escape, out, write_json

app = group("Messages to subscribers: which wait, which were given up, and why.")

SERVICE = "notifications"
State = Literal["queued", "failed", "given_up", "sent", "called_off"]
UNSENT = ("queued", "failed", "given_up")
Reason = Annotated[
    str, typer.Option("--reason", help="Only those whose last attempt failed for a reason beginning so.")
]


@app.command(name="list")
def list_(
    state: Annotated[
        State | None, typer.Option("--state", help="Only these; without it all that wait or were given up.")
    ] = None,
    reason: Reason = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="Show this many, the last changed first.")
    ] = 50,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Each delivery: its state, how often it was tried, and why the last attempt failed. Never to whom.

    Example: rembuk deliveries list --state given_up
    """
    home = home_of(region, data)
    seen = home.running_region(require_running(home))
    states = [state] if state else list(UNSENT)
    rows: list[ListedDelivery] = [*answers(ListedDelivery, seen, SERVICE, "deliveries", reason, str(limit), *states)]
    in_all = rows[0].in_all if rows else 0
    if as_json:
        shown = [{name: value for name, value in msgspec.to_builtins(row).items() if name != "in_all"} for row in rows]
        write_json(json.dumps({"in_all": in_all, "deliveries": shown}, indent=2))
        return
    for row in rows:
        why = f": {escape(row.reason)}" if row.reason else ""
        moot = "" if row.wanted or row.state not in UNSENT else ", not wanted any more"
        out.print(
            f"[bold]{row.id}[/] {row.channel}, {row.state.replace('_', ' ')} after {row.attempts} attempts "
            f"at {row.changed_at.astimezone():%Y-%m-%d %H:%M:%S}{why}{moot}\n    {escape(row.headline)}"
        )
    out.print(f"{in_all:,} deliveries" + (f", of which {len(rows):,} are shown" if in_all > len(rows) else ""))


@app.command()
def retry(
    delivery: Annotated[str, typer.Argument(help="The delivery, as `list` names it.")] = "",
    all_given_up: Annotated[
        bool, typer.Option("--all-given-up", help="All that were given up, and are still wanted.")
    ] = False,
    reason: Reason = "",
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have what was given up tried again, after its cause was mended, as often as at first. The log tells that an
    operator asked.

    Each is sent once, however often this is asked before it leaves. What is not true or not wanted any more stays
    unsent. A mailbox that was refused for good is tried once.

    Example: rembuk deliveries retry --all-given-up --reason "SMTP: "
    """
    if bool(delivery) == all_given_up:
        cannot_run("name one delivery, or say --all-given-up")
    home = home_of(region, data)
    seen = home.running_region(require_running(home))
    wanted = (str(_id(delivery)),) if delivery else ("given-up", reason)
    asked = refused = 0
    sent: Iterator[SentAgain] = answers(SentAgain, seen, SERVICE, "requeue", *wanted)
    for answer in sent:
        if as_json:
            write_json(msgspec.json.encode(answer))
        elif answer.refused:
            out.print(f"[red]{answer.delivery}: {escape(answer.refused)}[/]")
        asked, refused = asked + (not answer.refused), refused + bool(answer.refused)
    if not as_json:
        out.print(f"{asked:,} deliveries are tried again" if asked or refused else "[green]nothing was given up[/]")
    if refused:
        raise typer.Exit(WRONG)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        cannot_run(f"{escape(text)} is not the id of a delivery; see: rembuk deliveries list")
