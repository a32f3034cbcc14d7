"""What is meant where nothing is said: the region, its directory, its ports."""

from __future__ import annotations

from pathlib import Path

from rembuk.embedded.region import PORT_OFFSETS

USUAL = "jatim"
"""The region meant where none is named."""
DEFAULT_PORT_BASE = 8000
DEFAULT_NATS_PORT, DEFAULT_POSTGRES_PORT = 4222, 5433
SINK_OFFSET = 6
"""From the port base: where `rembuk demo` receives the e-mails it shows."""


def usual_place(region: str) -> Path:
    """Where a region lies unless said otherwise."""
    return (Path(".rembuk") / region).resolve()


def choose_ports(port_base: int | None) -> dict[str, int]:
    """P, P+1 ... P+5 for a given base; else 8000 to 8003 and the servers' customary ones."""
    ports = {name: (port_base or DEFAULT_PORT_BASE) + offset for name, offset in PORT_OFFSETS.items()}
    if port_base is None:
        ports |= {"nats": DEFAULT_NATS_PORT, "postgres": DEFAULT_POSTGRES_PORT}
    return ports
