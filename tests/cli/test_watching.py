"""What an operator sees of a region that runs: events as they happen, and in words whatever is wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import msgspec
import pytest
from rembuk.testing.services import eventually
from rembuk_cli.home.directory import Home
from rembuk_cli.home.running import Running
from rembuk_cli.region.looking import look
from rembuk_cli.region.servers import CONNECT_S

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def simulated(running: Command) -> None:
    assert running("simulate", "--problems", "40", "--seed", "3").returncode == 0
    eventually(lambda: well(running), 60)


def well(running: Command) -> None:
    shown = running("status")
    assert (shown.returncode, "all is well" in shown.stdout) == (0, True), shown.stdout


def planted(running: Command, service: str, *statements: str) -> None:
    """Done in a service's database by its owner, past all services."""
    url = running.owner_url(service)

    async def execute() -> None:
        owner = await asyncpg.connect(url)
        for statement in statements:
            await owner.execute(statement)
        await owner.close()

    asyncio.run(execute())


def found_wrong(running: Command, what: str) -> Callable[[], None]:
    def look() -> None:
        shown = running("status")
        assert shown.returncode == 1
        assert what in shown.stdout, shown.stdout

    return look


def test_events_follow_shows_what_happens_from_now_on(running: Command) -> None:
    following = running.begin("events", "reports", "--follow", "--json")
    assert following.stdout is not None
    lines: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: lines.extend(map(json.loads, following.stdout or ())))
    reader.start()
    seeds = itertools.count(100)

    def seen() -> None:
        assert running("simulate", "--problems", "2", "--seed", str(next(seeds))).returncode == 0
        assert lines

    eventually(seen, 60)
    head = next(one["log"] for one in running.status()["services"] if one["name"] == "reports")
    eventually(lambda: _reached(lines, head), 30)
    following.send_signal(signal.SIGINT)
    assert following.wait(20) == 0
    reader.join()
    positions = [line["position"] for line in lines]
    assert positions == list(range(positions[0], head + 1))


def test_events_follow_takes_the_filters_of_events(running: Command) -> None:
    filters = ["reports", "--json", "--since", "1h", "--area", "35.78", "--type", "ProblemVerified"]
    everything = [json.loads(line) for line in running("events", *filters).stdout.splitlines()]
    filters[5] = everything[0]["area"]
    told = running("events", *filters).stdout
    assert 0 < told.count("\n") < len(everything)
    following = running.begin("events", "--follow", *filters)
    assert following.stdout is not None
    followed = "".join(following.stdout.readline() for _ in range(told.count("\n")))
    following.send_signal(signal.SIGINT)
    assert following.wait(20) == 0
    assert followed + following.stdout.read() == told
    following.stdout.close()


def _reached(lines: list[dict[str, Any]], head: int) -> None:
    assert lines[-1]["position"] == head


def test_a_follower_ten_seconds_behind_is_told(running: Command) -> None:
    where = "where follower = 'open_problems'"
    planted(running, "forums", f"create table kept as select * from checkpoint {where}")
    planted(running, "forums", f"update checkpoint set position = 0 {where}")
    eventually(found_wrong(running, "forums: open_problems is "), 30)
    planted(running, "forums", f"update checkpoint set position = (select position from kept) {where}")
    well(running)


@pytest.mark.parametrize(("server", "says"), [("postgres", "database"), ("nats", "NATS")])
def test_of_a_server_that_hangs_it_is_told_within_seconds_with_all_that_is_known_of_the_rest(
    running: Command, server: str, says: str
) -> None:
    """However many questions it does not answer: all are asked at the same time."""
    home, told = Home(running.data), msgspec.convert(running.note(), Running)
    os.kill(pid := told.processes[server].pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        standing = asyncio.run(look(home, told))
        assert time.monotonic() - begun < 3 * CONNECT_S  # as long as three questions, one after the other
    finally:
        os.kill(pid, signal.SIGCONT)
    assert [why for why in standing.wrong if f"{says} does not answer" in why]
    for one in standing.services:
        assert (one.log is None, one.stream is None) == (server == "postgres", server == "nats")
    eventually(lambda: well(running), 60)


def test_a_process_that_a_signal_has_halted_is_told(running: Command) -> None:
    supervisor, worker = running.pids()[0], running.note()["processes"]["forums-worker"]["pid"]
    for pid in (supervisor, worker):
        os.kill(pid, signal.SIGSTOP)
        try:
            halted = f"was halted by a signal and does nothing until: kill -CONT {pid}"
            eventually(found_wrong(running, halted), 20)
        finally:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: well(running), 60)


def test_a_clock_that_ran_ahead_of_which_a_log_knows_is_told(running: Command) -> None:
    planted(running, "forums", "create table log.earlier as table log.head")
    planted(running, "forums", "update log.head set recorded_at = now() + interval '2 days 1 minute'")
    found_wrong(running, "forums: CLOCK SET BACK: its last event was recorded 2 days, 0:0")()
    told = httpx.get(f"{running.note()['urls']['forums']}/metrics", timeout=10).text
    [ahead] = re.findall(r'^rembuk_clock_ahead_seconds\{service="forums"\} (.*)$', told, re.MULTILINE)
    assert 172_800 < float(ahead) < 172_860
    planted(running, "forums", "update log.head set recorded_at = (select recorded_at from log.earlier)")
    well(running)


def test_what_is_in_quarantine_is_told_with_its_first_position(running: Command) -> None:
    planted(
        running, "reports",
        """insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
           values ('projection', 'JATIM_REPORTS', 7, 'a problem', 'ProblemReported', 'KeyError', '{}', '')""",
    )  # fmt: skip
    found_wrong(running, "projection has 1 aggregates (1 events) of JATIM_REPORTS in quarantine, the first at 7")()
    planted(running, "reports", "delete from quarantine")
    well(running)


def test_what_the_domain_refused_a_reaction_is_counted_and_nothing_wrong(running: Command) -> None:
    planted(
        running, "reports",
        """insert into reaction (follower, event_id, command, outcome, detail)
           values ('agreements', gen_random_uuid(), 'propose', 'refused', 'already-applied')""",
    )  # fmt: skip
    reports = next(one for one in running.status()["services"] if one["name"] == "reports")
    assert {follower["name"]: follower["refused"] for follower in reports["followers"]} == {
        "projection": 0, "agreements": 1,
    }  # fmt: skip
    well(running)


def test_a_stream_ahead_of_a_log_restored_from_an_older_state_is_told(running: Command) -> None:
    planted(
        running, "reports",
        "create table log.newer as select * from log.event where position > 50",
        "alter table log.event disable trigger user",
        "delete from log.event where position > 50",
        "create table log.later as table log.head",
        "update log.head set position = 50",
    )  # fmt: skip
    found_wrong(running, "STREAM AHEAD: JATIM_REPORTS is at ")()
    planted(
        running, "reports",
        "insert into log.event table log.newer",
        "alter table log.event enable trigger user",
        "update log.head set position = (select position from log.later)",
    )  # fmt: skip
    well(running)


def test_a_stream_whose_last_event_is_not_the_logs_is_told(running: Command) -> None:
    last = "where position = (select max(position) from log.event)"
    planted(
        running, "reports",
        "alter table log.event disable trigger user",
        f"create table log.kept as select id from log.event {last}",
        f"update log.event set id = gen_random_uuid() {last}",
    )  # fmt: skip
    found_wrong(running, "STREAM DIVERGED: reports at ")()
    assert [one["diverged"] for one in running.status()["services"] if one["name"] == "reports"] == [True]
    planted(
        running, "reports",
        f"update log.event set id = (select id from log.kept) {last}",
        "alter table log.event enable trigger user",
    )  # fmt: skip
    well(running)
