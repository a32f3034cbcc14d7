"""Who may be told of a problem: the rule, that every reader asks it, and that a newer release's words open nothing."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
import forums.projection
import hub.projection
import notifications.reactions
import pytest
import reports.projection
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.disclosure import Audience, may_see, shown_area
from rembuk.contracts.polmas import Disclosure
from rembuk.contracts.reports import CODEC, ProblemReported, ReferralOffered, SolutionApplied
from rembuk.events.event import Event, Metadata, RecordedEvent
from rembuk.postgres.bulk import Change
from rembuk.postgres.migrations import upgrade
from rembuk.postgres.provisioning import provision

ROOT = Path(__file__).parents[2]
RULE = ROOT / "shared/rembuk/contracts/disclosure.py"
READERS = [file for folder in ("shared", "services", "cli") for file in sorted((ROOT / folder).rglob("*.py"))]
AT = datetime(2026, 3, 1, tzinfo=UTC)
VILLAGE = "35.78.08.1004"
CASES = [
    (category, disclosure)
    for category in ("theft", "noise", "domestic_violence", "narcotics", "of_a_later_release", "")
    for disclosure in (*get_args(Disclosure), "neighbours", "")
]
"""Of the last two each: what a newer release may say, and what no release says."""


def test_everybody_is_told_what_is_public_and_not_sensitive_and_a_forum_what_is_for_it_too() -> None:
    expected = {(category, "public") for category in ("theft", "noise")}
    assert {case for case in CASES if may_see("public", *case)} == expected
    assert {case for case in CASES if may_see("forum", *case)} == expected | {("theft", "forum"), ("noise", "forum")}


@pytest.mark.parametrize("category", [code for code, one in CATEGORIES.items() if one.sensitive])
def test_nobody_is_told_of_a_sensitive_category_whatever_its_reporter_allows(category: str) -> None:
    words = get_args(Disclosure)
    assert not any(may_see(audience, category, word) for audience in get_args(Audience) for word in words)


def test_of_a_place_no_more_is_shown_than_the_regency() -> None:
    assert [shown_area(area) for area in (VILLAGE, "35.78.08", "35.78", "35", "")] == ["35.78"] * 3 + ["35", ""]


def asks_for_itself(code: ast.AST) -> Iterator[str]:
    """Where code weighs a disclosure or a sensitive category by itself."""
    for node in ast.walk(code):
        match node:
            case ast.Attribute(attr="sensitive"):
                yield f"{node.lineno}: .sensitive"
            case ast.Compare() if any(map(_is_disclosure, (node.left, *node.comparators))):
                yield f"{node.lineno}: compares a disclosure"
            case ast.Match() if _is_disclosure(node.subject):
                yield f"{node.lineno}: matches a disclosure"
            case ast.Constant(value=str(text)) if re.search(r"\bdisclosure\s*(=|<>|!=|in\b|not\b)", text):
                yield f"{node.lineno}: SQL compares a disclosure"


def _is_disclosure(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=name)):
            return name == "disclosure"
    return isinstance(node, ast.Attribute) and _is_disclosure(node.value)  # table.c.disclosure


def test_every_reader_asks_the_rule() -> None:
    released = {file for file in READERS if file.parent.name == "versions"}  # migrations have to stay as they are
    found = {
        str(file.relative_to(ROOT)): asked
        for file in READERS
        if file != RULE and file not in released and (asked := list(asks_for_itself(ast.parse(file.read_text()))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        'event.disclosure in ("public", "forum")',
        'row["disclosure"] == "public"',
        '"public" == disclosure',
        "problem.c.disclosure != 'public'",
        "CATEGORIES[event.category].sensitive",
        "match event.disclosure:\n    case 'public': pass",
        "ASKED = \"select id from problem where disclosure = 'public'\"",
    ],
)
def test_who_asks_for_himself_is_found(code: str) -> None:
    assert list(asks_for_itself(ast.parse(code)))


def fact(event: Event) -> RecordedEvent[Any]:
    return RecordedEvent(1, UUID(int=7), UUID(int=8), 1, VILLAGE, AT, event, Metadata())


def as_recorded(event: Event) -> Any:
    """As a reader has it from a log to which another release may have written it."""
    kind = type(event)
    return CODEC.decode(kind.__name__, kind.schema_version, CODEC.encode(event))


def events(category: str, disclosure: str) -> tuple[ProblemReported, ReferralOffered, SolutionApplied]:
    """Everything that says what a problem is."""
    day = date(2026, 3, 1)
    told = (
        ProblemReported(VILLAGE, category, "Motor hilang", "", disclosure),
        ReferralOffered("jateng", VILLAGE, category, "Motor hilang", "", disclosure, AT, to="jatim"),
        SolutionApplied(category, disclosure, "Ronda", ("partnership",), ("officer",), (), day, day),
    )
    return tuple(as_recorded(event) for event in told)


def written(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """The values of each row that is written, by their columns."""
    return [dict(zip(one.statement.parameters, one.values, strict=True)) for one in changes]


@pytest.mark.parametrize(("category", "disclosure"), CASES)
def test_each_service_keeps_what_is_public_apart_from_the_rest(category: str, disclosure: str) -> None:
    public = may_see("public", category, disclosure)
    for event in events(category, disclosure)[:2]:
        [row, *_] = written(reports.projection.project(fact(event)))
        assert (row["public"], row["area"], row["category"]) == (public, VILLAGE, category)
        rows = written(hub.projection.projection("jatim", "reports")(fact(event)))
        [row] = [row for row in rows if "category" in row]
        assert (row["area"], row["category"]) == ((VILLAGE, category) if public else ("35.78", "withheld"))


@pytest.mark.parametrize(("category", "disclosure"), CASES)
def test_forums_are_shown_what_the_rule_lets_them_see(category: str, disclosure: str) -> None:
    reported, offered, _ = events(category, disclosure)
    expected = may_see("forum", category, disclosure)
    for event in (reported, offered):
        rows = written(forums.projection.project_open_problems(fact(event)))
        assert bool(rows) is expected
        assert not rows or rows[0]["public"] is may_see("public", category, disclosure)


@pytest.mark.parametrize(("category", "disclosure"), CASES)
def test_subscribers_are_alerted_of_what_everybody_may_see(category: str, disclosure: str) -> None:
    reported, _, applied = events(category, disclosure)
    for event in (reported, applied):
        assert (notifications.reactions.draft(fact(event)) is not None) is may_see("public", category, disclosure)


ROWS = {
    "forums": """insert into open_problem (id, position, area, category, title, status, open, away, reported_at)
                 values ($1, 1, '35.78.08.1004', 'theft', 'Motor hilang', 'verified', true, false, now())""",
    "hub": """insert into problem (region, id, area, category, status, reported_at, changed_at)
              values ('jatim', $1, '35.78.08.1004', 'domestic_violence', 'verified', now(), now())""",
}


@pytest.mark.parametrize(
    ("service", "before", "follower"), [("forums", "0007", "open_problems"), ("hub", "0004", "projection")]
)
def test_rows_of_a_release_that_did_not_say_what_is_public_are_read_anew(
    postgres_url: str, service: str, before: str, follower: str
) -> None:
    made = asyncio.run(provision(postgres_url, f"d{uuid4().hex[:8]}", service, "test"))
    upgrade(service, made.owner_url, made.role, before)
    table = "open_problem" if service == "forums" else "problem"

    async def asked(*statements: str) -> list[Any]:
        owner = await asyncpg.connect(made.owner_url)
        try:
            return [await owner.fetch(one, *([uuid4()] if "$1" in one else [])) for one in statements]
        finally:
            await owner.close()

    stands = "insert into checkpoint (follower, stream, position) values ('{}', 'JATIM_REPORTS', 7)"
    asyncio.run(asked(ROWS[service], stands.format(follower), stands.format("another")))
    upgrade(service, made.owner_url, made.role)
    rows, checkpoints = asyncio.run(asked(f"select * from {table}", "select follower from checkpoint"))
    assert (rows, [row["follower"] for row in checkpoints]) == ([], ["another"])
