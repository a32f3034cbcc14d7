"""Why the end of a log is in no signed tree head: nobody signs it, or it does not go on from what was signed."""

from __future__ import annotations

from typing import Any

import asyncpg

from rembuk_cli.terminal.options import suggested

HALTED_S = 10.0
"""Signing takes place every few seconds. Whether it has halted is looked at after so long."""
UNSIGNED_S = 60.0
"""How long an event may wait for a tree head otherwise."""


async def unsigned(
    database: asyncpg.Connection[Any], region: str, service: str, signed: int, waiting_s: float, or_longer: bool
) -> list[str]:
    """What is wrong where the first event behind `signed` ones has waited so long for a tree head, or for longer."""
    if (waiting_s > HALTED_S or or_longer) and not await _goes_on_from(database, region, service):
        verify = suggested(f"verify {service}")
        return [
            f"SIGNING HALTED: {service}: its first {signed:,} events are not what was signed: somebody has altered the "
            f"log. Touch nothing, copy the disk, see: {verify}"
        ]
    if waiting_s > UNSIGNED_S:
        return [f"{service}: the event at {signed + 1:,} is in no tree head after {waiting_s:.0f} s"]
    return []


async def _goes_on_from(database: asyncpg.Connection[Any], region: str, service: str) -> bool:
    """Whether the log leads to the root that was signed last, as its signer requires."""
    from rembuk.transparency.tree import Tree  # whose libraries are nothing to who is told that all is well

    tree = Tree(database, region, service)
    last, _ = await tree.latest()
    return (await tree.frontier(last.size)).root == last.root
