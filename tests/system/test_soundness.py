"""What the crash tests assert can fail: a breach of each kind, planted in a sound town, is found where it should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from conftest import Town
    from rembuk.testing.load import Clients
    from rembuk.testing.receivers import Posted

Breach = Callable[["Town", "Clients"], AbstractAsyncContextManager[None]]


def altered(service: str, table: str, statement: str) -> Breach:
    """A table changed behind everybody's back, as its owner alone can; put back afterwards."""

    @asynccontextmanager
    async def breach(town: Town, _: Clients) -> AsyncIterator[None]:
        owner = await town.database(service)
        await owner.execute(f"create table kept as table {table}; alter table {table} disable trigger user")
        changed = await owner.execute(statement)
        assert int(changed.rpartition(" ")[2]) > 0, changed
        try:
            yield
        finally:
            await owner.execute(
                f"delete from {table}; insert into {table} table kept; drop table kept; "
                f"alter table {table} enable trigger user"
            )

    return breach


def witnessed(change: Callable[[Town, Clients], None]) -> Breach:
    """What receivers got, or what clients were told, changed as if it had been otherwise; put back afterwards."""

    @asynccontextmanager
    async def breach(town: Town, clients: Clients) -> AsyncIterator[None]:
        posted, acknowledged = list(town.sink.posted), dict(clients.acknowledged)
        change(town, clients)
        try:
            yield
        finally:
            town.sink.posted[:] = posted
            clients.acknowledged = acknowledged

    return breach


def told(town: Town) -> Posted:
    """An alert that some subscriber got."""
    return town.sink.at(next(iter(town.subscribers.values())))[0]


def lose(_: Town, clients: Clients) -> None:
    """What was acknowledged under an id is not there."""
    key, one = next(iter(clients.acknowledged.items()))
    clients.acknowledged[key] = replace(one, id=uuid4())


def forget(_: Town, clients: Clients) -> None:
    """A report that nobody asked for: what a retry recorded a second time looks like."""
    del clients.acknowledged[next(key for key, one in clients.acknowledged.items() if one.ask.path == "/v1/problems")]


LAST = "(select max(position) from log.event)"
BREACHES: dict[str, tuple[Breach, str]] = {
    "a gap in the versions of an aggregate": (
        altered("reports", "log.event", f"update log.event set version = version + 1 where position = {LAST}"),
        "log_is_dense",
    ),
    "a log whose time runs backwards": (
        altered("reports", "log.event", "update log.event set recorded_at = '2020-01-01' where position = 9"),
        "log_is_dense",
    ),
    "an event altered in the log": (
        altered("reports", "log.event", """update log.event set data = '{"area":""}' where position = 9"""),
        "stream_is_the_log",
    ),
    "an event of another area in the log": (
        altered("forums", "log.event", "update log.event set area = '11' where position = 1"),
        "stream_is_the_log",
    ),
    "a row missing from a read model": (
        altered("forums", "open_problem", "delete from open_problem where id = (select id from open_problem limit 1)"),
        "rows_are_a_fresh_replays",
    ),
    "a value altered in a read model": (
        altered("reports", "problem", "update problem set title = title || '.' where position = 1"),
        "rows_are_a_fresh_replays",
    ),
    "a delivery the log knows nothing of": (
        altered("notifications", "delivery", "update delivery set attempts = attempts + 1"),
        "rows_are_a_fresh_replays",
    ),
    "a reaction the ledger does not know": (
        altered("reports", "reaction", "delete from reaction"),
        "_reacted_once",
    ),
    "a reaction that was refused": (
        altered("forums", "reaction", "update reaction set outcome = 'refused'"),
        "_reacted_once",
    ),
    "an event in quarantine": (
        altered(
            "forums", "quarantine",
            """insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
               values ('projection', 'X', 1, 'x', 'X', 'x', '{}', '')""",
        ),
        "assert_sound",
    ),
    "an alert told twice": (witnessed(lambda town, _: town.sink.posted.append(told(town))), "_told_once"),
    "an alert never told": (witnessed(lambda town, _: town.sink.posted.remove(told(town))), "_told_once"),
    "a report acknowledged and lost": (witnessed(lose), "_acknowledged_is_there_once"),
    "a report recorded twice": (witnessed(forget), "_acknowledged_is_there_once"),
}  # fmt: skip


async def test_a_breach_of_each_kind_is_found(town: Town) -> None:
    async with town.clients(at_most=64) as clients:
        meeting = asyncio.create_task(town.meet(clients, await town.candidate(clients)))
        await clients.more(60)
        await meeting
    await town.assert_sound(clients)
    for kind, (breach, finds) in BREACHES.items():
        async with breach(town, clients):
            with pytest.raises(AssertionError) as found:
                await town.assert_sound(clients)
        assert [entry.name for entry in found.traceback if entry.name == finds], (kind, found.traceback)
    await town.assert_sound(clients)
