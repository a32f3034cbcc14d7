"""What the supervisor logs, and what it says to whoever started it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rembuk.process.lines import Lines

_log = Lines(2)


def say(event: str, level: str = "info", to: Lines = _log, **fields: Any) -> None:
    """One line of a log, in the shape of the services' own."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = {"event": event, **fields, "process": "supervisor", "level": level, "timestamp": now}
    to.write(json.dumps(line) + "\n")


def tell(progress: dict[str, Any]) -> None:
    """To whoever started us; it may be gone."""
    with suppress(OSError):
        os.write(1, json.dumps(progress).encode() + b"\n")
