"""Databases, roles and migrations of a region: `python -m rembuk_cli.prepare`, told by REMBUK_PLAN; a process
of its own, so that the supervisor need not carry the libraries."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from rembuk_cli.home import Home, Plan


def main() -> None:
    plan = Plan.told()
    region = Home(Path(plan.data)).region(plan)
    asyncio.run(region.provision())
    try:
        region.migrate()
    except subprocess.CalledProcessError as failed:
        sys.exit(f"{failed.cmd} failed:\n{failed.stderr.decode(errors='replace')}")


if __name__ == "__main__":
    main()
