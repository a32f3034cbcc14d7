"""The hub as its operator looks after it: its read model made anew, its mirrors held against what was cosigned, its
metrics as alerts name them."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import pytest
from hub.domain import State
from rembuk.broker.stream_names import stream_name
from rembuk.broker.streams import stored_message
from rembuk.contracts.forums import MeetingScheduled
from rembuk.proof.merkle import Frontier, leaf_hash
from rembuk.proof.signed_note import TreeHead
from rembuk.testing.services import eventually
from rembuk.transparency.leaves import published_leaf

from tests.hub.conftest import Hub, reported

ALERTS = Path(__file__).parents[2] / "deploy/prometheus/alerts.yml"


def errand(hub: Hub, *arguments: str) -> list[dict[str, Any]]:
    """What an errand of the hub's answers, but for its progress."""
    done = hub.service.run("hub", *arguments)
    assert done.returncode == 0, done.stderr
    return [step for line in done.stdout.splitlines() if (step := json.loads(line))["kind"] != "progress"]


async def ask(hub: Hub, query: str) -> None:
    await asyncio.to_thread(hub.service.ask, "hub", query)


def differences(steps: list[dict[str, Any]]) -> dict[str, int]:
    """By table, how many rows are not what the mirrors come to."""
    compared = [step for step in steps if step["kind"] == "compared"]
    return {step["table"]: step["only_live"] + step["only_new"] + step["changed"] for step in compared}


@pytest.mark.drills
async def test_what_the_hub_shows_is_made_anew_from_its_mirrors_while_it_goes_on(hub: Hub) -> None:
    one, other = hub.admitted(), hub.admitted()
    for region in (one, other):
        await hub.told(region, *(reported() for _ in range(8)))
        hub.comes_to(region, "level", 8)
    scheduled = MeetingScheduled(uuid4(), "35.78.08", datetime.now(UTC), "Balai", ())
    await hub.told(one, (uuid4(), scheduled), service="forums")
    hub.comes_to(one, "level", 1, "forums")
    tables = ("problem", "moved", "problem_count", "meeting", "meeting_count", "activity")
    well = dict.fromkeys(tables, 0)
    wrong = well | {"problem": 16, "problem_count": 2, "meeting_count": 1}
    assert differences(errand(hub, "rebuild", "compare")) == well
    await ask(hub, f"update problem set status = 'solved' where region = '{one}'")
    await ask(hub, f"delete from problem where region = '{other}'")
    await ask(hub, f"update problem_count set closed = 1 where region = '{one}' and level = 2 and month = '-infinity'")
    await ask(hub, f"update meeting_count set held = 1 where region = '{one}' and level = 13 and month > '-infinity'")
    assert differences(errand(hub, "rebuild", "compare")) == wrong
    steps = errand(hub, "rebuild", "swap")
    assert differences(steps) == wrong
    assert steps[-1] == {"kind": "swapped", "quarantined": 0}
    for region in (one, other):
        assert hub.get("/v1/counts", by="status", region=region) == [
            {"key": "reported", "problems": 8, "open": 8, "name": None}
        ]
        await hub.told(region, reported())
        hub.comes_to(region, "level", 9)
        assert hub.events(region) == 9 + (region == one)  # the meeting


async def test_a_mirror_that_is_not_what_was_cosigned_is_named(hub: Hub) -> None:
    region = hub.admitted(name="witnessed")
    await hub.told(region, reported(), reported(), reported())
    hub.comes_to(region, "level", 3)
    stream = stream_name(region, "reports")
    tree, other = Frontier(), Frontier()
    async with hub.federation.at_hub(region) as jetstream:
        for position in (1, 2):
            held = await jetstream.get_msg(stream, seq=position)
            message = stored_message(stream, position, dict(held.headers or {}), held.data or b"")
            tree.append(leaf_hash(published_leaf(message)))
            other.append(leaf_hash(b"another event"))

    async def found(size: int, root: bytes) -> tuple[list[str], int | None]:
        await ask(hub, "delete from witnessed")
        note = hub.log.sign(TreeHead(hub.log.verifier.name, size, root).text)
        hub.api.post("/v1/witness/add-checkpoint", content=f"old 0\n\n{note}").raise_for_status()
        steps = errand(hub, "verify")
        [held] = [step for step in steps if step["kind"] == "held" and step["stream"] == stream]
        return [step["said"] for step in steps if step["kind"] == "wrong"], held["cosigned"]

    assert await found(2, tree.root) == ([], 2)
    assert await found(2, other.root) == ([f"{stream} up to there is not what was signed and cosigned"], 2)
    assert await found(9, tree.root) == ([f"{stream} ends there, and a head of 9 events was cosigned"], 9)


async def test_every_metric_of_the_hub_that_is_alerted_on_is_told_and_every_state_is_one(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported())
    hub.comes_to(region, "level", 1)
    rules = ALERTS.read_text()
    named = set(re.findall(r"rembuk_hub_\w+", rules))
    assert len(named) == 3
    stream = stream_name(region, "reports")

    def told() -> None:
        for name in named:
            assert hub.metric(name, region) is not None
        state = f'rembuk_hub_state{{region="{region}",service="hub",state="level",stream="{stream}"}} 1.0'
        assert state in hub.api.get("/metrics").text

    eventually(told)
    states = {state for said in re.findall(r'state=~?"([^"]+)"', rules) for state in said.split("|")}
    assert states < set(get_args(State))
