"""`rembuk vault missing, put-back, write-off`: the keys of persons that are gone, brought back or said to be lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rembuk.postgres.provisioning import SERVICES
from rembuk.sealing import wrapped_keys
from rembuk.sealing.missing_keys import Missing

from rembuk_cli.home.key_files import COPIES
from rembuk_cli.region.kept_keys import BACKUPS, KeyInDump, Looked, look_for
from rembuk_cli.region.services import answers, ask_each, require_service
from rembuk_cli.region.wrapping import Wrapped, region_and_key, wrapped
from rembuk_cli.terminal.options import WRONG, Data, Json, RegionName, cannot_run, suggested
from rembuk_cli.terminal.writing import err, escape, out, write_json

if TYPE_CHECKING:
    from rembuk.embedded.region import RegionConfig

TOLD = 20
"""So many persons are told one by one."""

Service = Annotated[str, typer.Argument(help="reports, forums or notifications: whose log has what is sealed.")]
Backups = Annotated[Path, typer.Option("--backups", help="Where backups are: each dump in there is looked into.")]
KeyCopies = Annotated[Path, typer.Option("--key-copies", help="Where copies of region keys are kept: each is tried.")]


def missing(
    service: Annotated[str, typer.Argument(help="reports, forums or notifications; all of them without.")] = "",
    backups: Backups = BACKUPS,
    key_copies: KeyCopies = COPIES,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Whose keys are missing though no erasure says so, and which of them backups have. Exit code 1 when any is.

    Persons are opaque: a reporter, a member, a subscriber, and what was written in confidence in one event.

    Example: rembuk vault missing reports
    """
    seen, path = region_and_key(region, data)
    any_missing = False
    for one in [service] if service else SERVICES:
        require_service(one)
        found = _missing(seen, one)
        any_missing |= bool(found)
        looked = _looked(found, one, backups, path, key_copies)
        if as_json:
            for each in found:
                kept = looked.opened.get(each.person)
                told = {"service": one, "person": str(each.person), "position": each.position}
                write_json(json.dumps(told | {"backup": str(kept.dump) if kept else None}))
            continue
        _tell(one, found, looked, backups)
        if looked.opened:
            out.print(f"bring them back by: {suggested(f'vault put-back {one}')}")
        elif found:
            out.print(f"if they are lost for good: {suggested(f'vault write-off {one} --persons {len(found)}')}")
    if any_missing:
        raise typer.Exit(WRONG)


def put_back(
    service: Service,
    backups: Backups = BACKUPS,
    key_copies: KeyCopies = COPIES,
    region: RegionName = "",
    data: Data = None,
) -> None:
    """Bring back the keys that are missing and that backups have, while the services run. Nobody who is erased comes
    back, and no key that is there is touched.

    A key that an older region key wraps is opened by the copy of it that is kept, and wrapped by the present one.

    Example: rembuk vault put-back reports
    """
    from rembuk.keys.region_key import RegionKeys, WrappedKey

    require_service(service)
    seen, path = region_and_key(region, data)
    _require_region_keys(seen, path, key_copies)
    found = _missing(seen, service)
    looked = _looked(found, service, backups, path, key_copies)
    current = RegionKeys.load(str(path)).current
    keys = [
        WrappedKey(person, current.wrap(person, kept.key), current.key_id) for person, kept in looked.opened.items()
    ]
    for page in (keys[first : first + 1_000] for first in range(0, len(keys), 1_000)):
        ask_each(seen, partial(wrapped_keys.put_back, keys=page), services=[service])
    out.print(f"{service}: of {len(found):,} keys that were missing {len(keys):,} are back")


def write_off(
    service: Service,
    persons: Annotated[
        int | None, typer.Option("--persons", min=1, help="Of how many persons, as was shown: you mean these.")
    ] = None,
    backups: Backups = BACKUPS,
    key_copies: KeyCopies = COPIES,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have the log say that the keys that are missing are lost: an erasure of each person, on the ground `lost`.

    It shows of how many persons, and of which, and does it when it is told that number. Nothing is written while a
    backup has one of the keys, or a region key is not at hand. It is for good: a key that comes back later is
    destroyed, as that of anybody who is erased. Interrupted, it is run again; the services go on meanwhile.

    Example: rembuk vault write-off reports --persons 12
    """
    require_service(service)
    seen, path = region_and_key(region, data)
    _require_region_keys(seen, path, key_copies)
    found = _missing(seen, service)
    if not found:
        out.print(f"{service}: no key is missing; there is nothing to write off")
        return
    looked = _looked(found, service, backups, path, key_copies)
    if not as_json:
        _tell(service, found, looked, backups)
    if looked.opened:
        cannot_run(
            f"backups have the keys of {len(looked.opened):,} of them; nothing was written. Bring them back by: "
            f"{suggested(f'vault put-back {service}')}"
        )
    if persons != len(found):
        shown = "" if persons is None else f"{persons:,} are not those that were shown; "
        cannot_run(
            f"{shown}nothing was written. If no other backup has them, and what is sealed under them is to stay closed "
            f"for good: {suggested(f'vault write-off {service} --persons {len(found)}')}"
        )
    done = 0
    with err.status(f"{service}: the log is told") as status:
        for some in answers(int, seen, service, "write-off", str(persons)):
            done += some
            status.update(f"{service}: {done:,} of {len(found):,}")
    if as_json:
        write_json(json.dumps({"service": service, "persons": done}))
    else:
        out.print(f"{service}: the log says of {done:,} persons that their keys are lost")


def _require_region_keys(region: RegionConfig, path: Path, copies: Path) -> None:
    """Ends the command while keys of persons are wrapped by a region key that is not at hand: they are not lost yet."""
    from rembuk_cli.region.soundness import opened_by

    away: list[Wrapped] = [key for key in wrapped(region, path) if not key.at_hand]
    if not away:
        return
    there = asyncio.run(opened_by(region, [key.key_id for key in away], [path.parent, copies]))
    told = "; ".join(
        f"{key.key_id} ({sum(key.persons.values()):,} persons): "
        + (f"in {' and '.join(map(str, there[key.key_id]))}" if key.key_id in there else "in none of them")
        for key in away
    )
    cannot_run(
        escape(
            f"keys of persons are there and wrapped by a region key that is not in {path}; nothing was written. Tried "
            f"was every file in {path.parent} and {copies}: {told}. See docs/runbook.md, “The region's key is missing”"
        )
    )


def _missing(region: RegionConfig, service: str) -> list[Missing]:
    with err.status(f"{service}: the log is held against the vault"):
        return list(answers(Missing, region, service, "missing-keys"))


def _looked(found: Sequence[Missing], service: str, backups: Path, path: Path, copies: Path) -> Looked:
    if not found:
        return Looked({}, {}, 0)
    with err.status(f"{service}: backups are looked into"):
        return look_for({one.person for one in found}, service, backups.absolute(), [path.parent, copies])


def _tell(service: str, found: Sequence[Missing], looked: Looked, backups: Path) -> None:
    """Whose keys are missing, and where they are."""
    if not found:
        out.print(f"[bold]{service}[/]: no key is missing")
        return
    out.print(f"[bold]{service}[/]: the keys of {len(found):,} persons are missing, and no erasure says so")
    for one in found[:TOLD]:
        out.print(f"  {one.person}, first at position {one.position:,}{_where(looked.opened.get(one.person))}")
    if len(found) > TOLD:
        out.print(f"  and {len(found) - TOLD:,} more; all of them: {suggested(f'vault missing {service} --json')}")
    out.print(escape(f"  {looked.dumps} dumps in {backups} were looked into: {len(looked.opened):,} keys are in them"))
    for key_id, persons in looked.closed.items():
        out.print(
            f"  {len(persons):,} more, wrapped by the region key {key_id}, which no file has or which opens them not"
        )


def _where(kept: KeyInDump | None) -> str:
    return "" if kept is None else escape(f", in {kept.dump}")
