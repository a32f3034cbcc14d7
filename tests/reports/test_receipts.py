"""Promise and receipt of a report, as a reporter gets them from the real service, and whoever doubts verifies them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest
from rembuk.proof.cosignature import verifiers
from rembuk.proof.merkle import require_consistent
from rembuk.proof.receipt import Proven, contradictions, proven, require_data
from rembuk.proof.signed_note import TreeHead, Verifier, decoded, verified
from rembuk.testing import forking
from rembuk.testing.services import PARTNER, RunningRegion, eventually

REPORT = {
    "area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah Ibu Kenari.",
    "reporter": {"name": "Siti Kenari", "phone": "+62 811 2222 3333"},
}  # fmt: skip


@pytest.fixture(scope="module")
def region(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region("reports", extra={"REMBUK_TREE_HEAD_SECONDS": "0.2"})


@pytest.fixture(scope="module")
def http(region: RunningRegion) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=region.url("reports"), timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def keys(http: httpx.Client) -> list[Verifier]:
    return verifiers(http.get("/v1/log/keys").raise_for_status().text)


def report(http: httpx.Client, **headers: str) -> dict[str, Any]:
    answer = http.post("/v1/problems", json=REPORT, headers=headers)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def receipt(http: httpx.Client, problem: str) -> str:
    """Once there is one."""

    def signed() -> str:
        answer = http.get(f"/v1/problems/{problem}/receipt")
        assert answer.status_code == 200, answer.text
        return answer.text

    return eventually(signed)


def head_of(http: httpx.Client, keys: list[Verifier], size: int | None = None) -> TreeHead:
    answer = http.get("/v1/log/checkpoint", params={"size": size} if size else None).raise_for_status()
    return TreeHead.of(verified(answer.text, keys))


def test_a_report_is_promised_and_the_promise_is_kept(
    region: RunningRegion, http: httpx.Client, keys: list[Verifier]
) -> None:
    body = report(http)
    promise = proven(body["promise"], keys)
    event = promise.event
    assert (promise.promise, promise.trusted, event.aggregate) == (True, True, body["id"])
    assert (event.position, event.type, event.region) == (body["position"], "ProblemReported", region.region.name)
    kept = proven(receipt(http, body["id"]), keys)
    assert (kept.promise, kept.event, kept.leaf) == (False, event, promise.leaf)
    assert contradictions([promise, kept]) == []


def test_a_retry_is_promised_the_same(http: httpx.Client, keys: list[Verifier]) -> None:
    key = str(uuid4())
    first = report(http, **{"Idempotency-Key": key})
    report(http)
    assert proven(report(http, **{"Idempotency-Key": key})["promise"], keys).leaf == proven(first["promise"], keys).leaf


def test_all_who_report_at_the_same_time_are_promised_their_own(http: httpx.Client, keys: list[Verifier]) -> None:
    with ThreadPoolExecutor(24) as pool:
        bodies = list(pool.map(lambda _: report(http), range(96)))
    found = [proven(body["promise"], keys) for body in bodies]
    assert [(one.event.position, one.event.aggregate) for one in found] == [
        (body["position"], body["id"]) for body in bodies
    ]
    assert max(one.size for one in found) > 1  # they shared a signature
    assert contradictions(found) == []


def test_a_receipt_comes_with_the_next_head_and_bears_the_reference(
    start_region: Callable[..., RunningRegion],
) -> None:
    slow = start_region("reports", extra={"REMBUK_TREE_HEAD_SECONDS": "3600"})
    slow.stop("reports", "worker")
    with httpx.Client(base_url=slow.url("reports"), timeout=10) as http:
        assert http.get("/v1/log/checkpoint").status_code == 404
        body = report(http)
        for path in (f"problems/{body['id']}/receipt", f"problems/{body['id']}/receipt.svg", "log/proof/1"):
            answer = http.get(f"/v1/{path}", headers=PARTNER)
            assert (answer.status_code, answer.headers["retry-after"]) == (409, "5")
            assert answer.json()["type"] == "/problems/not-signed-yet"
        slow.start("reports", "worker")
        receipt(http, body["id"])
        answer = http.get(f"/v1/problems/{body['id']}/receipt")
        assert answer.headers["content-disposition"] == f'attachment; filename="{body["reference"]}.tlog-proof"'
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        code = http.get(f"/v1/problems/{body['id']}/receipt.svg")
        assert code.headers["content-type"] == "image/svg+xml"
        assert "<svg" in code.text


def test_what_there_is_not_has_no_receipt(http: httpx.Client) -> None:
    for path in (f"problems/{uuid4()}/receipt", f"problems/{uuid4()}/receipt.svg", "log/proof/1000000"):
        assert http.get(f"/v1/{path}", headers=PARTNER).status_code == 404
    assert http.get("/v1/log/checkpoint", params={"size": 10**9}).status_code == 404
    for path in ("log/proof/0", "log/checkpoint?size=0", "log/consistency?old=0&new=1", "log/consistency?old=1"):
        assert http.get(f"/v1/{path}", headers=PARTNER).status_code == 400
    assert http.get("/v1/log/consistency?old=2&new=1").json()["errors"][0]["field"] == "old"


def test_any_event_is_proven_by_position_and_each_head_goes_on_from_the_one_before(
    http: httpx.Client, keys: list[Verifier]
) -> None:
    receipt(http, report(http)["id"])
    before = head_of(http, keys)
    body = report(http)
    http.post(f"/v1/problems/{body['id']}/verify", json={}).raise_for_status()

    def grown() -> TreeHead:
        head = head_of(http, keys)
        assert head.size >= body["position"] + 1
        return head

    after = eventually(grown)
    assert head_of(http, keys, before.size) == before
    lines = http.get("/v1/log/consistency", params={"old": before.size, "new": after.size}).raise_for_status().text
    hashes = [decoded(line) or b"" for line in lines.splitlines()]
    require_consistent(before.size, before.root, after.size, after.root, hashes)
    path = f"/v1/log/proof/{body['position'] + 1}"
    assert http.get(path).status_code == 401  # it tells of whom and where, as the events do
    second = proven(http.get(path, headers=PARTNER).raise_for_status().text, keys)
    assert (second.event.type, second.event.aggregate, second.size) == ("ProblemVerified", body["id"], after.size)


def test_a_receipt_stays_valid_when_the_log_grows_and_when_the_reporter_is_erased(
    region: RunningRegion, http: httpx.Client, keys: list[Verifier]
) -> None:
    body = report(http)
    old = receipt(http, body["id"])
    history = http.get(f"/v1/problems/{body['id']}/history").content

    async def erase() -> None:
        owner = await asyncpg.connect(region.region.database("reports").owner_url)
        assert await owner.execute("delete from vault_key") != "DELETE 0"
        await owner.close()

    asyncio.run(erase())
    report(http)

    def grown() -> Proven:
        found = proven(receipt(http, body["id"]), keys)
        assert found.size > proven(old, keys).size
        return found

    new = eventually(grown)
    assert contradictions([proven(old, keys), new]) == []
    assert new.leaf == proven(old, keys).leaf
    require_data(new.event, history)
    require_data(new.event, http.get(f"/v1/problems/{body['id']}/history").content)


def test_neither_promise_nor_receipt_tells_what_was_reported_or_by_whom(http: httpx.Client) -> None:
    body = report(http)
    said = body["promise"] + receipt(http, body["id"])
    for extra in [line.removeprefix("extra ") for line in said.splitlines() if line.startswith("extra ")]:
        said += (decoded(extra) or b"").decode()
    assert "ce-subject" in said
    for secret in ("Kenari", "2222", "Motor", "sealed:"):
        assert secret not in said


def test_a_region_without_a_log_key_does_not_accept(region: RunningRegion) -> None:
    keyless = msgspec.structs.replace(region.region, log_key="")
    for process in ("api", "worker"):
        assert forking.run("reports", [process], keyless.environment("reports"), 30).returncode == 2
