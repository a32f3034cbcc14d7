"""`rembuk vault status, rotate, id`: which region key wraps the keys of persons, and a new one in its place."""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rembuk.keys.key_setting import BadKey, create
from rembuk.postgres.provisioning import SERVICES
from rembuk.process import state_file
from rembuk.sealing.wrapped_keys import persons_by_key

from rembuk_cli.home.key_files import keys_of
from rembuk_cli.region.services import answers, ask_each
from rembuk_cli.region.wrapping import PUT_BACK, key_ids, region_and_key, wrapped
from rembuk_cli.terminal.options import WRONG, Data, Json, RegionName, cannot_run, home_of
from rembuk_cli.terminal.writing import err, escape, out, write_json

if TYPE_CHECKING:
    from rembuk.embedded.region import RegionConfig

SETTLE_S = 20
"""How long what was to be recorded under the old key may be under way: longer than an append waits for PostgreSQL."""


def status(region: RegionName = "", data: Data = None, as_json: Json = False) -> None:
    """How many persons' keys are wrapped by which region key; exit code 1 when one of them is not at hand.

    Example: rembuk vault status --json
    """
    seen, path = region_and_key(region, data)
    keys = wrapped(seen, path)
    if as_json:
        write_json(msgspec.json.encode(keys))
    for key in () if as_json else keys:
        role = "current" if key.current else "older" if key.at_hand else "[red]NOT AT HAND[/]"
        told = ", ".join(f"{service} {many:,}" for service, many in key.persons.items()) or "nobody"
        out.print(f"[bold]{key.key_id}[/] {role}: {told}")
    if not all(key.at_hand for key in keys):
        raise typer.Exit(WRONG)


def rotate(
    settle: Annotated[
        int, typer.Option("--settle", min=0, max=600, help="Seconds to wait for what processes have under way.")
    ] = SETTLE_S,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Put a new region key in the place of the present one, while the services run. No event changes.

    The new key is written before the old one into region.key, has every person's key, and then the old one is taken
    away. Interrupted, it goes on where it was when it is run again; nothing begins while a key is not at hand, or
    another rotation is under way. Back region.key up before and after.

    Example: rembuk vault rotate
    """
    seen, path = region_and_key(region, data)
    try:
        with _alone(path):
            current, taken_over = _rotated(seen, path, settle)
    except (OSError, BadKey) as error:
        cannot_run(escape(str(error)))
    if as_json:
        write_json(json.dumps({"key_id": current, "persons": taken_over}))
    else:
        out.print(f"{current} is the region's key, {taken_over:,} keys of persons went over to it; back {path} up")


def id_(
    files: Annotated[list[Path], typer.Argument(help="Files that may hold a key, copies for instance.")],
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Which key each file holds, by the id that `vault status` names and that stands with each person's key; where that
    key is in use, and while the region runs, how many persons it opens. Exit code 1 when a file holds no key.

    Example: rembuk vault id elsewhere/*
    """
    home = home_of(region, data)
    used: dict[str, list[str]] = {}
    for file in (home.region_key, home.log_key, home.witness_key):
        for key in keys_of(file) if file.exists() else []:
            used.setdefault(key.key_id, []).append(file.name)
    persons: Counter[str] = Counter()
    if (running := home.running()) is not None:
        for _, wrapping in ask_each(home.running_region(running), persons_by_key):
            persons.update(wrapping)
    named = [(file, key.key_id) for file in files for key in keys_of(file)]
    none = [str(file) for file in files if not keys_of(file)]
    if as_json:
        told = [
            {"file": str(file), "key_id": one, "in": used.get(one, []), "persons": persons[one]} for file, one in named
        ]
        write_json(json.dumps(told))
    for file, one in () if as_json else named:
        where = f"in {', '.join(used[one])}" if one in used else "in no file that is in use"
        opens = f"opens the keys of {persons[one]:,} persons" if running else "start the region to see what it opens"
        out.print(f"{escape(str(file))}: [bold]{one}[/], {where}, {opens}")
    if none:
        err.print(f"[red]no key is in {escape(', '.join(none))}[/]")
        raise typer.Exit(WRONG)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process at a time changes the keys of a file: two would take each other's new keys away."""
    with path.with_name(f".{path.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            cannot_run("another rotation of this key is under way")
        yield


def _rotated(region: RegionConfig, path: Path, settle: int) -> tuple[str, int]:
    """The new key's id, and how many keys of persons went over to it. Raises OSError, BadKey."""
    keys = wrapped(region, path)
    if missing := [key.key_id for key in keys if not key.at_hand]:
        cannot_run(
            f"keys of persons are wrapped by the region key {', '.join(missing)}, which is not in {escape(str(path))}; "
            f"nothing was changed. {PUT_BACK}, behind the key that is there, and run this again"
        )
    begun = len(keys) > 1
    if not begun:
        _put_new_key_first(path)
    new, current = path.read_text().split()[0], key_ids(path)[0]
    err.print(f"{'going on with' if begun else 'made'} the new key {current}")
    taken_over = sum(_rewrapped(region, settle))
    left = sum(sum(key.persons.values()) for key in wrapped(region, path) if key.key_id != current)
    if left:
        cannot_run(f"{left} keys of persons are still wrapped by an older key; run this again")
    state_file.write(path, f"{new}\n".encode())
    return current, taken_over


def _rewrapped(region: RegionConfig, settle: int) -> Iterator[int]:
    """How many keys went over, step by step, until a look after `settle` seconds finds none."""
    with err.status("") as told:
        for again in (False, True):
            for service in SERVICES:
                told.update(f"{service}: keys of persons go over")
                yield from answers(int, region, service, "rewrap")
            if not again:
                told.update("waiting for what processes have under way")
                time.sleep(settle)


def _put_new_key_first(path: Path) -> None:
    """Write the file anew with another key before those that it has. Raises OSError."""
    fresh = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    create(fresh)
    new = fresh.read_text().strip()
    state_file.write(path, f"{new}\n{path.read_text().strip()}\n".encode())
    fresh.unlink()
