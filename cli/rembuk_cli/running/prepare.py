"""Databases, roles and migrations of a region: `python -m rembuk_cli.running.prepare`, told by REMBUK_PLAN; a process
of its own, so that the supervisor need not carry the libraries.

Services are not let loose on what a disaster left: a log that is behind its stream, sealed data without their key.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from rembuk.settings import WITNESSED, CannotRun

from rembuk_cli.home.plan import Plan
from rembuk_cli.home.planned import planned_home
from rembuk_cli.terminal.unable import Unable


def main() -> None:
    plan = Plan.told()
    home = planned_home(plan)
    region = home.region(plan)
    asyncio.run(region.provision())
    if behind := asyncio.run(region.behind()):
        region.migrate(behind)
    if not plan.servers_only and not plan.hub:
        from rembuk.keys.key_setting import create

        from rembuk_cli.region.soundness import (
            Unsound,
            require_key_of_logs,
            require_key_of_vaults,
            require_logs_of_streams,
        )

        try:
            with suppress(Unable):  # a broker that does not answer is not waited for
                asyncio.run(require_logs_of_streams(region, home.options(plan.region)))
            require_key_of_vaults(region, home.region_key, plan.new_region_key, Path(plan.key_copies))
            require_key_of_logs(region, home.log_key, plan.new_log_key)
            if WITNESSED in plan.extra:
                create(home.witness_key)
            if plan.nats_url and home.partners.exists():
                home.include_partners(plan.region)  # as they were changed while the region did not run
        except Unsound as error:
            sys.exit(str(error))


if __name__ == "__main__":
    try:
        main()
    except CannotRun as error:
        sys.exit(str(error))
