"""The operator's command `rembuk`: every command in a file of its own, put together here."""

from __future__ import annotations

import sys
import traceback

import typer

from rembuk_cli.answering import Answering
from rembuk_cli.aside import aside
from rembuk_cli.demo import demo
from rembuk_cli.down import down
from rembuk_cli.env import env
from rembuk_cli.erase import erase
from rembuk_cli.events import events
from rembuk_cli.export import export
from rembuk_cli.hub import app as hub
from rembuk_cli.options import WRONG
from rembuk_cli.partner import app as partner
from rembuk_cli.quarantine import app as quarantine
from rembuk_cli.rebuild import rebuild
from rembuk_cli.receipt import app as receipt
from rembuk_cli.reconcile import reconcile
from rembuk_cli.replay import replay
from rembuk_cli.restore import restore
from rembuk_cli.simulate import simulate
from rembuk_cli.status import status
from rembuk_cli.terminal import err, escape_lines
from rembuk_cli.up import up
from rembuk_cli.vault import app as vault
from rembuk_cli.verify import verify

app = typer.Typer(
    name="rembuk",
    cls=Answering,
    help="Run a region of Rembuk, follow its events, look after it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    up, down, demo, simulate, status, events, replay, rebuild, verify, export, restore, reconcile, aside, erase, env,
):  # fmt: skip
    app.command()(command)
app.add_typer(quarantine, name="quarantine")
app.add_typer(vault, name="vault")
app.add_typer(partner, name="partner")
app.add_typer(receipt, name="receipt")
app.add_typer(hub, name="hub")


def main() -> None:
    """A fault of ours ends with Python's traceback, which may repeat what came from outside."""
    try:
        app(prog_name="rembuk")
    except Exception:
        err.print(escape_lines(traceback.format_exc()))
        sys.exit(WRONG)


if __name__ == "__main__":
    main()
