"""The directory that a plan is about: a region's, or the hub's."""

from __future__ import annotations

from pathlib import Path

from rembuk_cli.home.directory import Home
from rembuk_cli.home.plan import Plan


def planned_home(plan: Plan) -> Home:
    """Where what is planned lies: a region's directory, or the hub's."""
    if plan.hub:
        from rembuk_cli.home.hub_directory import HubHome  # its libraries are nothing to a region's supervisor

        return HubHome(Path(plan.data))
    return Home(Path(plan.data))
