"""Partners: what a scope sees, in Python, in SQL and as filters of NATS alike; a file that is read as it changes."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from msgspec import structs
from rembuk.broker.stream_names import subject, subject_prefix
from rembuk.log.event_log import EventLog
from rembuk.partners import scoped
from rembuk.partners.partners import BadPartner, Partner, Partners, Scope, hashed, new_token
from rembuk.partners.roster import BadRoster, NotAbsolute
from rembuk.testing.tallies import Counted, TallyOpened, TallyRegion, count_up
from rembuk.web.partner_access import read_by_token

SERVICES = ("reports", "forums")
TYPES = ("ProblemReported", "ProblemClosed", "ForumHeld")
AREAS = st.sampled_from(("", "35", "35.78", "35.78.08", "35.73", "11", "11.01.02"))
"""Few enough to lie in one another often."""
VILLAGES = AREAS.map(lambda area: f"{area}.1004" if area.count(".") == 2 else area)
SCOPES = st.builds(
    Scope,
    st.sets(st.sampled_from(SERVICES), min_size=1).map(tuple),
    st.lists(st.sampled_from(TYPES), max_size=3).map(tuple),
    st.lists(AREAS.filter(bool), max_size=4).map(tuple),
)


def matches(pattern: str, name: str) -> bool:
    """As NATS compares a filter with a subject: * is one token, > one at least."""
    wanted, tokens = pattern.split("."), name.split(".")
    if wanted[-1] == ">":
        wanted, tokens = wanted[:-1], tokens[: len(wanted) - 1] if len(tokens) >= len(wanted) else []
    return len(wanted) == len(tokens) and all(one in ("*", token) for one, token in zip(wanted, tokens, strict=True))


@settings(max_examples=400)
@given(SCOPES, st.sampled_from(SERVICES), st.sampled_from(TYPES), VILLAGES)
def test_what_a_scope_sees_exactly_one_of_its_subjects_matches(
    scope: Scope, service: str, event_type: str, area: str
) -> None:
    name = subject(subject_prefix("jatim", service), event_type, area)
    matching = [one for one in scope.subjects("jatim", service) if matches(one, name)]
    assert len(matching) == scope.sees(service, event_type, area)


def partner(name: str, token: str = "") -> Partner:
    return Partner(name, Scope(("reports",)), hashed(token or new_token()), datetime.now(UTC))


def test_whoever_is_revoked_is_nobody_from_then_on_for_those_who_read_already(tmp_path: Path) -> None:
    ours, theirs = (Partners(tmp_path / "partners.json") for _ in range(2))
    assert theirs.bearing("rembuk_x") is None
    ours.add(partner("dinas", token="rembuk_x"))
    found = theirs.bearing("rembuk_x")
    assert found is not None
    assert found.name == "dinas"
    assert theirs.bearing("rembuk_y") is None
    ours.revoke("dinas")
    assert theirs.bearing("rembuk_x") is None
    assert [one.name for one in theirs.read()] == ["dinas"]
    with pytest.raises(BadPartner, match="no partner of this name is active"):
        ours.revoke("dinas")
    with pytest.raises(BadPartner, match="is taken"):
        ours.add(partner("dinas"))


def test_the_file_holds_no_token_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    token = new_token()
    partners = Partners(tmp_path / "partners.json")
    partners.add(partner("dinas", token=token))
    assert token not in partners.path.read_text()
    assert stat.S_IMODE(partners.path.stat().st_mode) == 0o600


def test_those_added_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    names = {f"partner-{number}" for number in range(20)}

    def add(name: str) -> None:
        Partners(tmp_path / "partners.json").add(partner(name))

    threads = [threading.Thread(target=add, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.name for one in Partners(tmp_path / "partners.json").active()} == names


@pytest.mark.parametrize("left", [0, 1, 30, -10, None])
def test_while_the_file_is_damaged_or_gone_nobody_is_told_that_he_is_no_partner_and_nothing_is_overwritten(
    tmp_path: Path, left: int | None
) -> None:
    path = tmp_path / "partners.json"
    partners = Partners(path)
    partners.add(partner("dinas", token="rembuk_x"))
    whole = path.read_text()
    if left is None:
        path.unlink()
    else:
        path.write_text(whole[:left])
    with pytest.raises(BadRoster):
        partners.bearing("rembuk_x")
    with pytest.raises(BadRoster):
        partners.add(partner("other"))
    assert path.read_text() == whole[:left] if left is not None else not path.exists()
    with pytest.raises(BadRoster):
        Partners.named(str(path))
    path.write_text(whole)
    assert partners.bearing("rembuk_x") is not None


@settings(max_examples=200)
@given(scope=SCOPES, service=st.sampled_from(SERVICES), area=VILLAGES)
def test_a_read_is_whole_for_a_token_alone_that_reads_every_event_of_the_service_there(
    tmp_path_factory: pytest.TempPathFactory, scope: Scope, service: str, area: str
) -> None:
    partners, token = Partners(tmp_path_factory.mktemp("partners") / "partners.json"), new_token()
    partners.add(structs.replace(partner("reader", token), scope=scope))

    def within(said: str) -> bool:
        headers = [(b"authorization", said.encode())] if said else []
        return read_by_token(partners, service)(ASGIConnection({"type": "http", "headers": headers}))(area)  # type: ignore[arg-type, typeddict-item]

    assert within(f"Bearer {token}") is (not scope.types and scope.sees(service, "ProblemClosed", area))
    assert not any(map(within, ("", f"Basic {token}", "Bearer eyJhbGciOiJub25lIn0.e30.")))
    partners.revoke("reader")
    with pytest.raises(NotAuthorizedException):
        within(f"Bearer {token}")


def test_a_relative_path_is_refused_and_without_one_there_are_no_partners() -> None:
    with pytest.raises(NotAbsolute, match="absolute"):
        Partners.named("partners.json")
    assert Partners.named("") is None


@pytest.mark.parametrize("name", ["", "a", "Dinas", "1a", "a b", "a" * 33, "dinas\n"])
def test_a_name_is_a_short_word_of_lower_case(name: str) -> None:
    with pytest.raises(BadPartner, match="name"):
        partner(name)


@pytest.mark.parametrize("area", ["3", "35.", "35.78.08.1004", "35%", "35.78\n", ""])
def test_an_area_is_the_code_of_a_district_or_wider(area: str) -> None:
    with pytest.raises(BadPartner, match="area"):
        Scope(("reports",), areas=(area,))


SEEN = [
    Scope(("tallies",)),
    Scope(("tallies",), types=("Counted",)),
    Scope(("tallies",), areas=("35.78",)),
    Scope(("tallies",), areas=("35.78.08", "11")),
    Scope(("tallies",), types=("TallyOpened",), areas=("35",)),
    Scope(("tallies",), types=("Never",)),
]


@pytest.fixture
async def mixed(log: EventLog) -> EventLog:
    """A log of events in and about several areas, 60 of them."""
    for area in ("35.78.08.1004", "35.78", "35", "11.01", "", "35.7") * 5:
        await log.append(uuid4(), 0, [uuid4(), uuid4()], [TallyOpened(area), Counted(1)], area)
    return log


@pytest.mark.parametrize("scope", SEEN)
@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_pages_hold_what_the_scope_sees_once_each_and_lead_to_the_end(
    mixed: EventLog, monkeypatch: pytest.MonkeyPatch, scope: Scope, limit: int
) -> None:
    wanted = [
        fact.position for fact in await mixed.read() if scope.sees("tallies", type(fact.event).__name__, fact.area)
    ]
    seen, after = [], -1
    page = scoped.ScopedPage([], 0)
    while page.position > after:
        after = page.position
        async with mixed.reader() as reader:
            page = await scoped.page(reader, scope, after, limit)
        assert len(page.rows) <= limit
        seen += [row["position"] for row in page.rows]
    assert (seen, after) == (wanted, 60)


async def test_a_page_of_large_events_is_short_and_none_is_lost(mixed: EventLog) -> None:
    seen, after = [], -1
    page = scoped.ScopedPage([], 0)
    while page.position > after:
        after = page.position
        async with mixed.reader() as reader:
            page = await scoped.page(reader, SEEN[0], after, 500, most_bytes=40)
        assert len(page.rows) < 5
        seen += [row["position"] for row in page.rows]
    assert seen == list(range(1, 61))


async def test_a_position_that_no_log_reaches_is_told_the_head(mixed: EventLog) -> None:
    async with mixed.reader() as reader:
        with pytest.raises(scoped.BeyondTheHead, match=f"last position is 60, which {2**62} is beyond"):
            await scoped.page(reader, SEEN[0], 2**62, 500)


async def test_a_page_of_which_nothing_is_seen_looks_at_so_much_and_no_more(log: EventLog, region: TallyRegion) -> None:
    await count_up(log, scoped.SCANNED + 500, tallies=100)
    connection = await asyncpg.connect(region.url)
    try:
        never = Scope(("tallies",), types=("Never",))
        first = await scoped.page(connection, never, 0, 500)
        last = await scoped.page(connection, never, first.position, 500)
    finally:
        await connection.close()
    assert (first.rows, first.position) == ([], scoped.SCANNED)
    assert (last.rows, last.position) == ([], scoped.SCANNED + 500)
