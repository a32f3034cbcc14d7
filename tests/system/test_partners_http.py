"""Partners by HTTP: each sees what its scope has and nothing else, page by page, until it is revoked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from rembuk.partners.partners import Scope
from rembuk.testing.services import PARTNER, RunningRegion

REPORT = {"category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
GUBENG, MALANG = "35.78.08.1004", "35.73.01.1001"


@pytest.fixture(scope="module")
def running(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    """A region in which something happened, mostly in Gubeng."""
    region = start_region("reports")
    for area in [MALANG, *[GUBENG] * 12, MALANG]:
        reported(region, area)
    return region


def reported(region: RunningRegion, area: str) -> dict[str, Any]:
    answer = httpx.post(f"{region.url('reports')}/v1/problems", json={"area": area, **REPORT})
    accepted: dict[str, Any] = answer.raise_for_status().json()
    verified = httpx.post(f"{region.url('reports')}/v1/problems/{accepted['id']}/verify", json={})
    return accepted | {"verified": verified.raise_for_status().json()["position"]}


def feed(region: RunningRegion, headers: dict[str, str], **query: int) -> httpx.Response:
    return httpx.get(f"{region.url('reports')}/v1/events", headers=headers, params=query)


def pages(region: RunningRegion, headers: dict[str, str], limit: int) -> Iterator[list[dict[str, Any]]]:
    """As a partner follows the links until they lead nowhere new."""
    path, before = f"/v1/events?limit={limit}", ""
    while path != before:
        answer = httpx.get(region.url("reports") + path, headers=headers).raise_for_status()
        yield answer.json()
        link = re.fullmatch('<(.*)>; rel="next"', answer.headers["link"])
        assert link is not None
        path, before = link[1], path


@pytest.mark.parametrize("limit", [1, 4, 500])
def test_a_partner_sees_what_its_scope_has_and_nothing_else(running: RunningRegion, limit: int) -> None:
    everything = feed(running, PARTNER, limit=500).json()
    for number, scope in enumerate([
        Scope(("reports",), areas=("35.73",)),
        Scope(("reports",), types=("ProblemVerified",)),
        Scope(("reports", "forums"), types=("ProblemReported",), areas=("11", "35.78.08")),
        Scope(("reports",), areas=("11",)),
    ]):  # fmt: skip
        headers = running.partner(f"scope-{number}-{limit}", scope)
        seen = [event for page in pages(running, headers, limit) for event in page]
        assert seen == [one for one in everything if scope.sees("reports", one["type"], one["area"])]


def test_a_page_says_up_to_where_its_reader_has_everything(running: RunningRegion) -> None:
    head = int(feed(running, PARTNER, limit=500).headers["rembuk-position"])
    few = running.partner("few", Scope(("reports",), areas=("35.73",)))
    first = feed(running, few, limit=1)
    assert [event["position"] for event in first.json()] == [int(first.headers["rembuk-position"])]
    beyond = feed(running, few, after=head)
    assert (beyond.json(), int(beyond.headers["rembuk-position"])) == ([], head)


def refused(answer: httpx.Response, status: int, challenge: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == challenge
    detail: str = answer.json()["detail"]
    return detail


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/stream"])
def test_who_is_no_partner_hears_so(running: RunningRegion, path: str) -> None:
    url = running.url("reports") + path
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
        assert "Bearer <token>" in refused(httpx.get(url, headers=headers), 401, "Bearer")
    for token in ("rembuk_x", PARTNER["Authorization"][7:-1], "ä"):
        headers_raw = [(b"authorization", f"Bearer {token}".encode())]
        refused(httpx.get(url, headers=headers_raw), 401, 'Bearer error="invalid_token"')
    forums_only = running.partner(f"forums-{path.count('/')}", Scope(("forums",)))
    detail = refused(httpx.get(url, headers=forums_only), 403, 'Bearer error="insufficient_scope"')
    assert "forums, not of reports" in detail


def test_who_is_revoked_is_refused_by_the_next_request(running: RunningRegion) -> None:
    headers = running.partner("leaving", Scope(("reports",)))
    assert feed(running, headers).status_code == 200
    running.partners.revoke("leaving")
    refused(feed(running, headers), 401, 'Bearer error="invalid_token"')


def test_while_the_file_is_damaged_a_partner_is_not_told_no(running: RunningRegion) -> None:
    headers = running.partner("staying", Scope(("reports",)))
    whole = running.partners.path.read_bytes()
    running.partners.path.write_bytes(whole[: len(whole) // 2])
    try:
        answer = feed(running, headers)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/state-damaged")
        assert int(answer.headers["retry-after"]) > 0
    finally:
        running.partners.path.write_bytes(whole)
    assert feed(running, headers).status_code == 200


def test_where_no_file_is_named_nobody_is_a_partner_and_hears_how_to_become_one(
    start_region: Callable[..., RunningRegion],
) -> None:
    closed = start_region("reports", extra={"REMBUK_PARTNERS": ""})
    assert "rembuk partner add" in refused(feed(closed, PARTNER), 401, "Bearer")
