"""The regions' nats-servers that are connected to the hub's, and how their connections are ended."""

from __future__ import annotations

import asyncio
import json
import time

from nats.aio.client import Client
from rembuk.federation.hub_regions import account

from rembuk_cli.home.hub_directory import HubHome
from rembuk_cli.home.running import Running
from rembuk_cli.region.servers import broker

FOR_NATS_S = 5.0
"""How long nats-server may take to have heard of a change."""


async def connected(client: Client) -> tuple[str, dict[str, list[int]]]:
    """The id of the hub's nats-server, and the connections of regions' servers by account."""
    told = json.loads((await client.request("$SYS.REQ.SERVER.PING.LEAFZ", timeout=FOR_NATS_S)).data)
    found: dict[str, list[int]] = {}
    for leaf in told["data"].get("leafs") or ():
        found.setdefault(leaf["account"], []).append(leaf["id"])
    return told["server"]["id"], found


async def cut_off(home: HubHome, running: Running, region: str) -> bool:
    """End the connections of a region's servers: a nats-server that takes its settings anew leaves them as they are.
    Whether there are none any more."""
    async with broker(running.nats_url, "rembuk hub", seed=home.operator_seed) as client:
        deadline = time.monotonic() + FOR_NATS_S
        while True:
            server, found = await connected(client)
            left = found.get(account(region), [])
            if not left or time.monotonic() > deadline:
                return not left
            for leaf in left:
                await client.request(
                    f"$SYS.REQ.SERVER.{server}.KICK", json.dumps({"cid": leaf}).encode(), timeout=FOR_NATS_S
                )
            await asyncio.sleep(0.3)  # one that comes again before the settings are taken is told to leave again
