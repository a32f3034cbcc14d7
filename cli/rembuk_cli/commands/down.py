"""`rembuk down`: stop a region that runs embedded."""

from __future__ import annotations

from rembuk_cli.running.stopping import stop
from rembuk_cli.terminal.options import Data, RegionName, home_of


def down(region: RegionName = "", data: Data = None) -> None:
    """Stop a region: services finish what they accepted, then NATS and PostgreSQL end. Its data stays.

    Harmless when nothing runs.

    Example: rembuk down --region jatim
    """
    stop(home_of(region, data))
