"""What a reporter writes down: JATIM-000123."""

from __future__ import annotations

import re

_REFERENCE = re.compile(r"([a-z][a-z0-9]*)-([0-9]{1,18})", re.IGNORECASE | re.ASCII)


def reference_of(region: str, position: int) -> str:
    """The region and the event's place in its log, unique by construction."""
    return f"{region.upper()}-{position:06d}"


def position_of(text: str, region: str) -> int | None:
    """The position that a reference names, in capitals or not, with its zeros or without; None for one of another
    region, or none."""
    match = _REFERENCE.fullmatch(text.strip())
    return int(match[2]) if match and match[1].lower() == region else None
