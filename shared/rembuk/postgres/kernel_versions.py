"""The versions of the kernel's tables: each numbered file in `kernel` brings a database one version on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

VERSION = "select version from kernel_version"
"""Which version a database has, where the script `numbering` was run."""


def newest() -> int:
    """The number of the last file."""
    return max(_files())


def numbering() -> str:
    """The script that makes a database say which version it has, one from before there were versions too."""
    return _script(0)


def upgrading(found: int, version: int) -> str:
    """The script that brings a database from one version to another; empty where it has that one or a later one."""
    return "".join(
        f"{_script(number)}\nupdate kernel_version set version = {number}, since = now();\n"
        for number in range(found + 1, version + 1)
    )


def creating() -> str:
    """The script that makes all of the kernel's tables in an empty database."""
    return numbering() + upgrading(0, newest())


def _script(number: int) -> str:
    return _files()[number].read_text()


@cache
def _files() -> dict[int, Path]:
    return {int(path.name.partition("_")[0]): path for path in Path(__file__).with_name("kernel").glob("*.sql")}
