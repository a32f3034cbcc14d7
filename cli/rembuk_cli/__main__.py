"""The operator's command `rembuk`: each command is in the file of its name, which is read when the command is given."""

from __future__ import annotations

import sys

import typer
from rembuk.process.garbage import look_seldom

from rembuk_cli.terminal.answering import MOST_COLUMNS, Answering

COMMANDS = {
    "up": "Start a region: PostgreSQL, NATS and the services.",
    "down": "Stop a region; its data stays.",
    "demo": "Start a region and play one story of Polmas in it.",
    "simulate": "Report problems as a city does, and work on some of them.",
    "status": "Whether everything is well, and what is not.",
    "logs": "What all processes and servers have logged, merged by time.",
    "events": "Read the log, or follow the streams.",
    "replay": "The history of one aggregate, and its state after each event.",
    "rebuild": "Make a read model anew, compare it, swap it in.",
    "verify": "Check logs, tree heads, streams and read models.",
    "export": "Write a service's events into files.",
    "restore": "Restore a lost log from its stream, the hub or an export.",
    "reconcile": "Compare a log with its stream; publish what is missing.",
    "aside": "Move what PostgreSQL or NATS has kept out of the way, by date.",
    "erase": "Erase the persons whose data are sealed in something.",
    "env": "Variables with which psql, pg_dump and pg_basebackup find the database.",
    "quarantine": "Events that a follower could not take.",
    "deliveries": "Messages to subscribers that did not get through.",
    "vault": "The region's key, and the keys of persons.",
    "partner": "Other systems that may read what the region publishes.",
    "receipt": "The proof that a report is kept: fetch it, verify it offline.",
    "hub": "The hub: where the streams of all regions come together.",
}


class Rembuk(Answering):
    """All of them."""

    package = "rembuk_cli.commands"
    all_commands = COMMANDS


app = typer.Typer(
    name="rembuk",
    cls=Rembuk,
    help="Run a region of Rembuk, follow its events, look after it.",
    no_args_is_help=True,
    context_settings={"max_content_width": MOST_COLUMNS},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def rembuk() -> None:
    """Nothing is done for every command."""


def main() -> None:
    """A fault of ours ends with Python's traceback, which may repeat what came from outside."""
    look_seldom()
    try:
        app(prog_name="rembuk")
    except Exception:
        import traceback

        from rembuk_cli.terminal.options import WRONG
        from rembuk_cli.terminal.writing import err, escape_lines

        err.print(escape_lines(traceback.format_exc()))
        sys.exit(WRONG)


if __name__ == "__main__":
    main()
