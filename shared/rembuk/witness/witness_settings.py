"""Whom a region witnesses, and who witnesses it: files that its settings name."""

from __future__ import annotations

from pathlib import Path

from rembuk.proof.signed_note import BadVerifierKey, Verifier
from rembuk.settings import CannotRun


class BadWitnessSetting(CannotRun):
    """A setting leads to no file that can be read, or a line of it is not what it has to be."""


def read_lines(name: str, setting: str) -> list[str]:
    """The lines of the file that a setting names by its absolute path, without comments (#). Raises
    BadWitnessSetting."""
    path = Path(setting)
    if not path.is_absolute():
        raise BadWitnessSetting(f"{name} is to be the absolute path of a file, and is {path}")
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadWitnessSetting(f"{path}, which {name} names, cannot be read: {error}") from error
    return [line for line in lines if line]


def verifier_in(name: str, line: str, kind: type[Verifier] = Verifier) -> Verifier:
    """Raises BadWitnessSetting."""
    try:
        return kind.of(line)
    except BadVerifierKey as error:
        raise BadWitnessSetting(f"{name}: {error}") from error
