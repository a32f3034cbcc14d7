"""Bulk statements: many changes in few round trips, with the outcome of one after the other."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rembuk.postgres.bulk import Change, Statement, add_to, change, execute, grouped, insert_into, update
from rembuk.testing.tallies import ADD, LAST, SUM, TallyRegion, tally_table

DELETE = Statement(
    "delete", "delete from tally using unnest($1::uuid[]) as gone (id) where tally.id = gone.id", ("id",)
)
OPEN_ONLY = update(tally_table, "note", where="tally.note <> 'closed'")
STATEMENTS = [Statement(name, "", ("n",)) for name in "abc"]
AGGREGATES = [UUID(int=n) for n in range(4)]

changes_in_order = st.lists(
    st.tuples(st.sampled_from("vwxyz"), st.lists(st.sampled_from(STATEMENTS), max_size=3)), max_size=40
)


@pytest.fixture
async def connection(region: TallyRegion) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(region.url)
    yield connection
    await connection.close()


@given(given_changes=changes_in_order)
def test_groups_keep_every_change_and_the_order_within_an_aggregate(
    given_changes: list[tuple[str, list[Statement]]],
) -> None:
    numbered: list[tuple[str, list[Change]]] = []
    for aggregate, statements in given_changes:
        numbered.append(
            (aggregate, [Change(one, ((aggregate, len(numbered), n),)) for n, one in enumerate(statements)])
        )
    groups = grouped(numbered)

    for aggregate in "vwxyz":
        expected = [one.values for name, changes in numbered if name == aggregate for one in changes]
        by_group = [[row for row in rows if row[0][0] == aggregate] for _, rows in groups]
        assert [row for rows in by_group for row in rows] == expected
        assert all(len(rows) <= 1 for rows in by_group), "a group holds one change of an aggregate at most"
    assert all(rows for _, rows in groups)


def test_equal_statements_of_different_aggregates_share_a_group() -> None:
    groups = grouped(
        (n, [change(SUM, id=UUID(int=n), total=1), change(LAST, id=UUID(int=n), version=1, note="")])
        for n in range(100)
    )
    assert [(statement, len(rows)) for statement, rows in groups] == [(SUM, 100), (LAST, 100)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just(ADD), st.sampled_from(AGGREGATES), st.integers(1, 9)),
        st.tuples(st.just(SUM), st.sampled_from(AGGREGATES), st.integers(1, 9)),
        st.tuples(st.just(LAST), st.sampled_from(AGGREGATES), st.integers(1, 9)),
        st.tuples(st.just(DELETE), st.sampled_from(AGGREGATES), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
async def test_many_changes_at_once_leave_what_one_after_the_other_leaves(
    connection: asyncpg.Connection, steps: list[tuple[Statement, UUID, int]]
) -> None:
    rows: dict[UUID, tuple[int, int, str]] = {}
    changes: list[tuple[UUID, list[Change]]] = []
    for statement, key, n in steps:
        version, total, note = rows.get(key, (0, 0, ""))
        if statement is ADD:
            rows.setdefault(key, (n, n, "new"))
            changes.append((key, [change(ADD, id=key, version=n, total=n, note="new")]))
        elif statement is SUM:
            rows |= {key: (version, total + n, note)} if key in rows else {}
            changes.append((key, [change(SUM, id=key, total=n)]))
        elif statement is LAST:
            rows |= {key: (n, total, str(n))} if key in rows else {}
            changes.append((key, [change(LAST, id=key, version=n, note=str(n))]))
        else:
            rows.pop(key, None)
            changes.append((key, [change(DELETE, id=key)]))
    await connection.execute("delete from tally")
    await execute(connection, grouped(changes))
    found = await connection.fetch("select id, version, total, note from tally")
    assert {row["id"]: (row["version"], row["total"], row["note"]) for row in found} == rows


async def test_many_additions_to_one_row_are_all_counted(connection: asyncpg.Connection) -> None:
    one, other = uuid4(), uuid4()
    await execute(connection, [(ADD, [(one, 1, 0, ""), (other, 1, 5, "")])])
    await execute(connection, [(SUM, [(one, 1)] * 300 + [(other, 2)] + [(uuid4(), 7)])])
    assert await connection.fetchval("select total from tally where id = $1", one) == 300
    assert await connection.fetchval("select total from tally where id = $1", other) == 7
    assert await connection.fetchval("select count(*) from tally") == 2


async def test_a_row_that_is_there_stays_as_it_is(connection: asyncpg.Connection) -> None:
    one = uuid4()
    await execute(connection, [(ADD, [(one, 1, 1, "first"), (one, 2, 2, "second")])])
    await execute(connection, [(ADD, [(one, 3, 3, "third")])])
    assert await connection.fetchval("select note from tally") == "first"


async def test_an_update_may_be_narrowed(connection: asyncpg.Connection) -> None:
    one, other = uuid4(), uuid4()
    await execute(connection, [(ADD, [(one, 1, 1, "closed"), (other, 1, 1, "open")])])
    await execute(connection, [(OPEN_ONLY, [(one, "x"), (other, "x")])])
    assert {row["note"] for row in await connection.fetch("select note from tally")} == {"closed", "x"}


async def test_nothing_to_do_is_nothing_done(connection: asyncpg.Connection) -> None:
    await execute(connection, grouped([]))
    await execute(connection, grouped([(1, []), (2, [])]))


@pytest.mark.parametrize(
    "values",
    [{}, {"id": 1}, {"id": 1, "total": 2, "note": 3}, {"id": 1, "sum": 2}, {"total": 1, "note": 2}],
)
def test_a_change_with_other_names_than_its_statement_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="add_to_tally_total"):
        change(SUM, **values)


def test_a_statement_about_a_column_that_is_not_there_is_refused() -> None:
    for make in (insert_into, update, add_to):
        with pytest.raises(KeyError):
            make(tally_table, "colour")
