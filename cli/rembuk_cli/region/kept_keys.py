"""Keys of persons as backups have them: read from dumps, and opened by any region key that lies anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from rembuk.keys.region_key import RegionKey, Tampered
from rembuk.sealing.wrapped_keys import TABLE, in_dump

from rembuk_cli.home.key_files import keys_in
from rembuk_cli.terminal.options import cannot_run
from rembuk_cli.terminal.writing import escape

BACKUPS = Path("backup")
"""Where the runbook has an operator keep them."""


class KeyInDump(NamedTuple):
    """A person's key, and the dump that has it."""

    key: bytes
    dump: Path


class Looked(NamedTuple):
    """What was found of some persons' keys: those that can be brought back, and, by the id of the region key that no
    file has or that does not open them, those that are in a dump and stay closed."""

    opened: dict[UUID, KeyInDump]
    closed: dict[str, set[UUID]]
    dumps: int


def look_for(persons: set[UUID], service: str, backups: Path, keys: list[Path]) -> Looked:
    """Look for some persons' keys in every dump of a service, the newest first, and open them by the keys in these
    directories. Ends the command where a dump cannot be read."""
    region_keys: dict[str, list[RegionKey]] = {id: [key for key, _ in found] for id, found in keys_in(keys).items()}
    dumps = dumps_of(service, backups)
    opened: dict[UUID, KeyInDump] = {}
    closed: dict[str, set[UUID]] = {}
    for dump in dumps:
        if len(opened) == len(persons):
            break
        for person, wrapped, key_id in _rows(dump):
            if person not in persons or person in opened:
                continue
            key = _unwrapped(region_keys.get(key_id, []), person, wrapped)
            if key is None:
                closed.setdefault(key_id, set()).add(person)
            else:
                opened[person] = KeyInDump(key, dump)
    return Looked(opened, {id: left for id, some in closed.items() if (left := some - opened.keys())}, len(dumps))


def dumps_of(service: str, backups: Path) -> list[Path]:
    """The dumps of a service in the directories of a backup's moment, each once, the newest first."""
    found = {dump.resolve() for dump in backups.glob(f"*/{service}.dump")} if backups.is_dir() else set()
    return sorted(found, reverse=True)


def _unwrapped(keys: list[RegionKey], person: UUID, wrapped: bytes) -> bytes | None:
    for key in keys:
        try:
            return key.unwrap(person, wrapped)
        except Tampered:
            continue
    return None


def _rows(dump: Path) -> Iterator[tuple[UUID, bytes, str]]:
    """Person, wrapped key and the region key's id, as a dump has them."""
    command = [_pg_restore(), "--data-only", "--table", TABLE, "--file", "-", str(dump)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        try:
            yield from in_dump(reading.stdout)
            why = reading.stderr.read().strip()
        except ValueError as error:
            reading.kill()
            why = str(error)
    if reading.returncode:
        cannot_run(escape(f"{dump} cannot be read: {why}. If it is no backup, move it away; nothing was changed"))


def _pg_restore() -> str:
    from rembuk.embedded.postgres_server import postgres_binaries

    program = shutil.which("pg_restore", path=f"{postgres_binaries()}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        cannot_run("pg_restore is not there: it reads the backups")
    return program
