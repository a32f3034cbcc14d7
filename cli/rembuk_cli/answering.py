"""What a command could not do is one line and exit code 2: here, for all commands."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Any

from rembuk.settings import CannotRun
from rembuk.visible import visible
from typer.core import TyperGroup

from rembuk_cli.options import cannot_run, suggested
from rembuk_cli.servers import Unable
from rembuk_cli.terminal import escape, escape_lines


class Answering(TyperGroup):
    """All commands of `rembuk`."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        for number, argument in enumerate(args, 1):
            if argument != visible(argument):  # click repeats what it does not understand, past our own terminal
                cannot_run(f"argument {number} has hidden characters: {escape(argument)}")
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no arrow gets \u2192
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read our answer has enough of it
            raise
        except CannotRun as error:
            cannot_run(escape_lines(str(error)))
        except OSError as error:  # a file that somebody named
            cannot_run(escape(f"{error.filename}: {error.strerror}" if error.filename else str(error) or repr(error)))
        except Unable as error:
            then = f"; next: {', '.join(map(suggested, error.then))}" if error.then else ""
            cannot_run(escape_lines(f"{error}{then}"))
