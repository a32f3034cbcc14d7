"""All commands of `rembuk`: each is read when it is given, its help is plain text, and what it could not do is one line
and exit code 2."""

from __future__ import annotations

import sys
from errno import EDQUOT, ENOSPC
from functools import cached_property
from importlib import import_module
from io import TextIOWrapper
from typing import Any, ClassVar

import typer
from rembuk.events.visible import visible
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

MOST_COLUMNS = 110
"""How wide help is at most: enough for the longest example in one line."""


class Group(TyperGroup):
    """A group whose list of commands has the whole first paragraph of each one's help, however narrow the terminal."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, (one.help or "").partition("\n\n")[0].strip()) for name, one in self.commands.items()]
            )


def group(help: str) -> typer.Typer:
    """What the commands of one file are added to. Drawn by rich, help would take twice as long (decision 35)."""
    return typer.Typer(cls=Group, help=help, no_args_is_help=True, rich_markup_mode=None)


class Unread(TyperCommand):
    """A command, or group of commands, in the file of its name in a package: of the whole list of commands one is
    given, and its imports are all that it has to wait for."""

    def __init__(self, name: str, help: str, package: str) -> None:
        super().__init__(name, help=help)
        self._package = package

    @cached_property
    def read(self) -> Any:
        module = import_module(f"{self._package}.{self.name}")
        if isinstance(group := getattr(module, "app", None), typer.Typer):
            command: Any = get_group(group)
        else:
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command()(getattr(module, str(self.name)))
            command = get_command(alone)
        command.name = self.name
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.read.make_context(info_name, args, parent, **extra)


class Answering(Group):
    """What `rembuk` is: every command with a line on what it is for."""

    package: ClassVar[str]
    all_commands: ClassVar[dict[str, str]]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands.update({name: Unread(name, help, self.package) for name, help in self.all_commands.items()})

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        for number, argument in enumerate(args, 1):
            if argument != visible(argument):  # click repeats what it does not understand, past our own terminal
                from rembuk_cli.terminal.options import cannot_run
                from rembuk_cli.terminal.writing import escape

                cannot_run(f"argument {number} has hidden characters: {escape(argument)}")
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no arrow gets \u2192
        from rembuk.settings import CannotRun

        from rembuk_cli.terminal.options import cannot_run, suggested
        from rembuk_cli.terminal.unable import Unable
        from rembuk_cli.terminal.writing import escape, escape_lines

        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read our answer has enough of it
            raise
        except CannotRun as error:
            cannot_run(escape_lines(str(error)))
        except OSError as error:  # a file that somebody named
            said = f"{error.filename}: {error.strerror}" if error.filename else str(error) or repr(error)
            full = error.errno in (ENOSPC, EDQUOT)
            cannot_run(escape(said + ". Give the disk room: docs/runbook.md, DiskFillsUp" if full else said))
        except Unable as error:
            then = f"; next: {', '.join(map(suggested, error.then))}" if error.then else ""
            cannot_run(escape_lines(f"{error}{then}"))
