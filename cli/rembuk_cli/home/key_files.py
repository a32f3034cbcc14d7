"""Which keys lie in which files: looked for wherever one may be, before anything is given up for want of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path

from rembuk.keys.region_key import RegionKey
from rembuk.process import state_file

COPIES = Path("elsewhere")
"""Where the runbook has an operator keep copies."""

_MOST_BYTES = 1024
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


def keys_of(file: Path) -> list[RegionKey]:
    """The keys in a file, none where it holds anything else. Raises OSError."""
    if file.stat().st_size > _MOST_BYTES:
        return []
    words = state_file.read(file, _MOST_BYTES).decode("ascii", "replace").split()
    if not all(map(_KEY.fullmatch, words)):
        return []
    return [RegionKey(base64.b64decode(word)) for word in words]


def keys_in(places: Iterable[Path]) -> dict[str, list[tuple[RegionKey, Path]]]:
    """By id, the keys in the files that lie directly in these directories; what cannot be read is no key."""
    found: dict[str, list[tuple[RegionKey, Path]]] = {}
    for place in dict.fromkeys(places):
        for file in sorted(place.iterdir()) if place.is_dir() else []:
            try:
                keys = keys_of(file) if file.is_file() else []
            except OSError:
                continue
            for key in keys:
                found.setdefault(key.key_id, []).append((key, file))
    return found
