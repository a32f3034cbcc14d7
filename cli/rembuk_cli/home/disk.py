"""Whether the disks under a region (or the hub) have room, and what its servers say of one that has none."""

from __future__ import annotations

import os
from pathlib import Path

from rembuk_cli.home.directory import Home
from rembuk_cli.home.running import Running

ROOM = 16 << 20
"""A disk with fewer free bytes is full: PostgreSQL takes as many at once for the next file of its log."""
FILES = 64
"""One that takes fewer new files is full, too, whatever its bytes."""


def lack(place: Path) -> str | None:
    """What the disk of this place lacks; None where it has room, or where there is no such place."""
    try:
        disk = os.statvfs(place)
    except OSError:
        return None
    free = disk.f_bavail * disk.f_frsize
    if free < ROOM:
        return f"{free / 1e6:,.1f} MB are free"
    if disk.f_files and disk.f_favail < FILES:
        return f"{disk.f_favail:,} new files fit (inodes)"
    return None


def full(home: Home, running: Running) -> list[str]:
    """What is wrong of the disks, in words. To be said first: whatever else is wrong may follow from it."""
    ours = (home.data, home.data / "postgres", home.data / "postgres/cluster/pg_wal", home.data / "nats", home.logs)
    places = [place for place in ours if os.path.exists(place)]  # as far as we may see
    wrong = [
        f"DISK FULL: {why} where {place} is. Give it room, and all goes on by itself; nothing is damaged, restore "
        "nothing (docs/runbook.md, DiskFillsUp)"
        for place in {place.stat().st_dev: place for place in reversed(places)}.values()
        if (why := lack(place)) is not None
    ]
    if "nats" in running.processes and (why := home.nats(running.region, running.ports["nats"]).failure()) is not None:
        wrong.append(f"NATS stores nothing: {why}; it is started again as soon as its disk has room")
    return wrong
