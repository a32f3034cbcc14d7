"""Which region keys wrap the keys of persons, and which of them are at hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rembuk.keys.key_setting import BadKey
from rembuk.sealing.wrapped_keys import persons_by_key

from rembuk_cli.region.services import ask_each
from rembuk_cli.terminal.options import cannot_run, home_of, require_running
from rembuk_cli.terminal.writing import escape

if TYPE_CHECKING:
    from rembuk.embedded.region import RegionConfig

PUT_BACK = "Put back what is missing from where you keep it (docs/runbook.md, “The region's key is missing”)"


class Wrapped(msgspec.Struct, frozen=True):
    """A region key by its id, and how many persons' keys it wraps in each service. Persons are opaque: a reporter, a
    member, a subscriber, and what was written in confidence in one event."""

    key_id: str
    at_hand: bool
    current: bool
    persons: dict[str, int]


def region_and_key(region: str, data: Path | None) -> tuple[RegionConfig, Path]:
    """The region that runs, told where its key is; and that file."""
    home = home_of(region, data)
    seen = home.running_region(require_running(home))
    return msgspec.structs.replace(seen, region_key=str(home.region_key.absolute())), home.region_key.absolute()


def wrapped(region: RegionConfig, path: Path) -> list[Wrapped]:
    """The keys at hand, the current one first, then those that are missed; ends the command where no key is."""
    answers = ask_each(region, persons_by_key)
    try:
        ids = key_ids(path)
    except BadKey as error:
        by = ", ".join(sorted({key_id for _, wrapping in answers for key_id in wrapping})) or "none"
        cannot_run(f"{escape(str(error))}; keys of persons are wrapped by: {by}. {PUT_BACK}")
    persons: dict[str, Counter[str]] = {key_id: Counter() for key_id in ids}
    for service, wrapping in answers:
        for key_id, number in wrapping.items():
            persons.setdefault(key_id, Counter())[service] += number
    return [Wrapped(key_id, key_id in ids, key_id == ids[0], dict(each)) for key_id, each in persons.items()]


def key_ids(path: Path) -> list[str]:
    from rembuk.keys.region_key import RegionKeys  # with it comes cryptography

    return RegionKeys.load(str(path)).ids
