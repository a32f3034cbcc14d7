"""A problem goes from one region to another, with the real services of both; the test carries what the hub would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from rembuk.broker.cloud_events import CloudEvent, binary
from rembuk.broker.connecting import connect
from rembuk.broker.stream_names import inbox_name
from rembuk.contracts.reports import CODEC, Brief, Earlier, ProblemReferred, ProblemReported, addressed, brief_about
from rembuk.events.event import Metadata
from rembuk.events.ids import derive_id
from rembuk.federation.hub_regions import JOINED
from rembuk.federation.inbox import inbox_config
from rembuk.keys.referral_key import seal_for
from rembuk.log.event_log import EventLog
from rembuk.log.handling import fingerprint, handle
from rembuk.testing.asking import asked
from rembuk.testing.services import PARTNER, RunningRegion, eventually
from reports.commands import ProblemReport, ReportProblem
from reports.domain import PROBLEM

SECRETS = ("Tiga lampu padam", "112.7508", "Siti Kenari", "hubungi ketua RT")
REPORT: dict[str, Any] = {
    "area": "35.78.08.1004",
    "category": "street_lighting",
    "title": "Lampu gang padam",
    "description": "Tiga lampu padam di gang belakang pasar.",
    "location": {"lat": -7.2756, "lon": 112.7508},
    "reporter": {"name": "Siti Kenari"},
}


class Office:
    """One region, as those who work there see it."""

    def __init__(self, running: RunningRegion) -> None:
        self.running, self.name = running, running.region.name
        self.http = httpx.Client(base_url=running.url("reports"), headers=PARTNER, timeout=10)
        self.position = 0  # the last one of its log that was carried
        self.taken_from: dict[str, str] = {}  # whose problems it has accepted

    def reported(self, key: str = "", **other: Any) -> str:
        headers = {"Idempotency-Key": key or str(uuid4())}
        return str(self.http.post("/v1/problems", json=REPORT | other, headers=headers).raise_for_status().json()["id"])

    def verified(self, **other: Any) -> str:
        problem = self.reported(**other)
        self.does(problem, "verify")
        return problem

    def asks(self, problem: str, action: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/problems/{problem}/{action}", json=body)

    def does(self, problem: str, action: str, **body: Any) -> None:
        answer = self.asks(problem, action, **body)
        assert answer.is_success, answer.text

    def refuses(self, problem: str, action: str, **body: Any) -> tuple[int, str]:
        answer = self.asks(problem, action, **body)
        return answer.status_code, answer.json()["type"].removeprefix("/problems/")

    def sees(self, problem: str, **expected: Any) -> dict[str, Any]:
        """How a problem stands here, once it does so."""

        def check() -> dict[str, Any]:
            answer = self.http.get(f"/v1/problems/{problem}")
            assert answer.is_success, answer.text
            shown: dict[str, Any] = answer.json()
            assert {name: shown[name] for name in expected} == expected
            return shown

        return eventually(check, 20)

    def lists(self, problem: str, status: str) -> bool:
        items = (
            self.http.get("/v1/problems", params={"status": status, "limit": 200}).raise_for_status().json()["items"]
        )
        assert {one["status"] for one in items} <= {status}
        return problem in {one["id"] for one in items}

    def history(self, problem: str) -> list[tuple[str, str]]:
        events = self.http.get(f"/v1/problems/{problem}/history").raise_for_status().json()
        return [(event["region"], event["type"]) for event in events]

    def public_key(self) -> str:
        """That of which the region has told."""
        query = "select data::json->>'public_key' from log.event where type = 'RegionIntroduced'"
        found = self.running.ask("reports", query)
        assert found
        return str(found[0][0])

    def kept(self) -> str:
        """All that its database has in clear of events and rows."""
        tables = ("log.event", "problem", "elsewhere", "quarantine")
        query = " union all ".join(f"select json_agg(one)::text from {table} as one" for table in tables)
        return str([row[0] for row in asked(self.running.region.database("reports").owner_url, query)])


class Regions:
    """Two of them, and what is between."""

    def __init__(self, origin: Office, receiver: Office, nats_url: str) -> None:
        self.origin, self.receiver, self._nats_url = origin, receiver, nats_url

    def carry(self, *, twice: bool = False) -> None:
        """Bring what each has said since to whom it is for, until nobody says more."""
        while sum([self._carry(one, twice) for one in (self.origin, self.receiver)]):
            for office in (self.origin, self.receiver):
                eventually(lambda office=office: self._heard(office), 30)  # type: ignore[misc]

    def _heard(self, office: Office) -> None:
        rows = office.running.ask(
            "reports", "select position from checkpoint where stream = $1", inbox_name(office.name)
        )
        assert {row[0] for row in rows} == {asyncio.run(self._end(office))}

    def _carry(self, speaker: Office, twice: bool) -> int:
        page = speaker.http.get("/v1/events", params={"after": speaker.position, "limit": 500})
        events = msgspec.json.decode(page.raise_for_status().content, type=list[CloudEvent])
        letters: list[tuple[str, CloudEvent]] = []
        for event in events:
            speaker.position = event.position
            said = addressed(CODEC.decode(event.type, int(event.dataschema.split("/")[-1][:-5]), bytes(event.data)))
            if said is not None:
                letters += [(said[1], event)] * (1 + twice)
                if event.type == "ReferralAccepted":
                    speaker.taken_from[event.subject] = said[1]
            elif event.subject in speaker.taken_from:
                letters.append((speaker.taken_from[event.subject], event))
        asyncio.run(self.deliver(letters))
        return len(letters)

    async def deliver(self, letters: list[tuple[str, CloudEvent]]) -> None:
        client = await connect(self._nats_url, "carrier")
        for to, event in letters:
            await client.jetstream().add_stream(inbox_config(to))
            headers = {name: value for name, value in (binary("X", event).headers or {}).items() if name[:4] != "Nats"}
            await client.jetstream().publish(
                f"inbox.{to}.{event.region}.{event.type}", bytes(event.data), headers=headers
            )
        await client.close()

    async def _end(self, office: Office) -> int:
        client = await connect(self._nats_url, "carrier")
        await client.jetstream().add_stream(inbox_config(office.name))
        last = (await client.jetstream().stream_info(inbox_name(office.name))).state.last_seq
        await client.close()
        return last

    def referred(self, **other: Any) -> str:
        problem = self.origin.verified(**other)
        self.origin.does(problem, "refer", to=self.receiver.name)
        return problem


@pytest.fixture(scope="module")
def regions(start_region: Callable[..., RunningRegion], nats_url: str) -> Regions:
    """Each knows the other by its own word."""
    origin, receiver = (Office(start_region("reports", extra={JOINED: "1"})) for _ in range(2))

    known = "insert into other_region (name, public_key, heard_at) values ($1, $2, now())"
    for office, other in ((origin, receiver), (receiver, origin)):
        office.running.ask("reports", known, other.name, eventually(other.public_key))
    return Regions(origin, receiver, nats_url)


def test_a_referred_problem_moves_with_its_identity_its_clock_and_its_history(regions: Regions) -> None:
    origin, receiver = regions.origin, regions.receiver
    problem = origin.verified()
    origin.does(problem, "analyse", root_cause="Kabel putus")
    origin.does(problem, "refer", to=receiver.name, note="hubungi ketua RT dulu")
    told = origin.sees(problem, status="referred", referred_to=receiver.name)
    assert origin.refuses(problem, "propose-solution", proposal="Ganti", strategies=["partnership"]) == (
        409,
        "referred",
    )

    regions.carry()
    offered = receiver.sees(problem, status="offered", referred_from=origin.name, root_cause="Kabel putus")
    assert (offered["title"], offered["description"]) == (REPORT["title"], REPORT["description"])
    assert (offered["reported_at"], offered["anonymous"]) == (told["reported_at"], True)
    assert (receiver.lists(problem, "offered"), receiver.lists(problem, "verified")) == (True, False)
    assert receiver.refuses(problem, "analyse", root_cause="Kabel") == (409, "not-accepted")
    receiver.does(problem, "accept-referral", note="diterima")

    regions.carry()
    origin.sees(problem, status="handed_over", referred_to=receiver.name, anonymous=False)
    refused = origin.asks(problem, "analyse", root_cause="Kabel")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/handed-over")
    assert receiver.name in refused.json()["detail"]
    receiver.sees(problem, status="verified", reported_at=told["reported_at"])
    receiver.does(problem, "propose-solution", proposal="Ganti kabel", strategies=["partnership"])

    regions.carry()
    here, there = origin.name, receiver.name
    before = [(here, name) for name in ("ProblemReported", "ProblemVerified", "ProblemAnalysed", "ProblemReferred")]
    after = [(there, "ReferralAccepted"), (there, "SolutionProposed")]
    assert receiver.history(problem) == [*before, (there, "ReferralOffered"), *after]
    assert sorted(origin.history(problem)) == sorted([*before, (here, "ProblemHandedOver"), *after])


def test_nothing_of_a_brief_is_in_clear_and_the_receiver_opens_it_for_a_reason(regions: Regions) -> None:
    problem = regions.origin.verified()
    regions.origin.does(problem, "refer", to=regions.receiver.name, note="hubungi ketua RT dulu")
    regions.carry()
    regions.receiver.sees(problem, status="offered")
    told = "select count(*), bool_or(data like '%sealed:v1:%') from elsewhere where stream_id = $1 and not heard"
    assert [tuple(row) for row in regions.receiver.running.ask("reports", told, UUID(problem))] == [(2, False)]
    for office in (regions.origin, regions.receiver):
        kept = office.kept()
        assert problem in kept
        assert not [secret for secret in SECRETS if secret in kept]
    asked_for = {"fields": ["location", "note"], "reason": "Menilai rujukan", "by": "officer:4711"}
    for office in (regions.origin, regions.receiver):
        shown = office.asks(problem, "open", **asked_for).raise_for_status().json()["items"]
        assert {one["field"]: one["value"] for one in shown if one["value"]} == {
            "location": REPORT["location"], "note": "hubungi ketua RT dulu"
        }  # fmt: skip


def test_of_a_long_history_the_last_events_are_told(regions: Regions) -> None:
    problem = regions.origin.verified()
    for number in range(40):
        regions.origin.does(problem, "analyse", root_cause=f"{number} " + "x" * 3990)
    regions.origin.does(problem, "refer", to=regions.receiver.name)
    regions.carry()
    shown = regions.receiver.sees(problem, status="offered")
    assert shown["root_cause"].startswith("39 ")
    history = regions.receiver.http.get(f"/v1/problems/{problem}/history").json()
    numbers = [int(one["data"]["root_cause"].split()[0]) for one in history if one["type"] == "ProblemAnalysed"]
    assert 20 < len(numbers) < 40
    assert numbers == list(range(40))[-len(numbers) :]


def test_what_was_erased_is_not_handed_over(regions: Regions) -> None:
    problem = regions.origin.verified()
    regions.origin.does(problem, "erase", fields=["description"])
    regions.origin.does(problem, "refer", to=regions.receiver.name)
    regions.carry()
    assert regions.receiver.sees(problem, status="offered")["description"] == ""


def test_whoever_erases_hears_which_region_has_a_copy_that_is_erased_there(regions: Regions) -> None:
    problem = regions.referred()
    regions.carry()
    told = regions.origin.asks(problem, "erase").raise_for_status().json()["told"]
    done = regions.origin.running.run("reports", "erase", problem, "request")
    assert [told, *(json.loads(line)["told"] for line in done.stdout.splitlines())] == [[regions.receiver.name]] * 3
    assert regions.receiver.sees(problem, status="offered")["description"] == REPORT["description"]
    assert regions.receiver.asks(problem, "erase").raise_for_status().json()["told"] == []
    regions.receiver.sees(problem, description=None, erased=True)


def test_a_declined_problem_is_at_home_again_and_may_be_offered_again(regions: Regions) -> None:
    origin, receiver = regions.origin, regions.receiver
    problem = regions.referred()
    regions.carry()
    receiver.does(problem, "decline-referral", code="no_capacity", reason="Kurang orang")
    regions.carry()
    receiver.sees(problem, status="declined")
    origin.sees(problem, status="verified", referred_to=None)
    returned = origin.http.get(f"/v1/problems/{problem}/history").json()[-1]
    assert (returned["type"], returned["data"]["reason"]) == ("ReferralReturned", "Kurang orang")
    assert receiver.refuses(problem, "accept-referral") == (409, "not-offered")
    origin.does(problem, "refer", to=receiver.name)
    regions.carry()
    receiver.sees(problem, status="offered")
    receiver.does(problem, "accept-referral")
    regions.carry()
    origin.sees(problem, status="handed_over")


def test_a_withdrawal_before_the_answer_ends_the_offer(regions: Regions) -> None:
    problem = regions.referred()
    regions.carry()
    regions.origin.does(problem, "withdraw-referral")
    regions.origin.sees(problem, status="verified", referred_to=regions.receiver.name)
    again = {"to": regions.receiver.name}
    assert regions.origin.refuses(problem, "refer", **again) == (409, "withdrawal-unanswered")
    regions.carry()
    regions.receiver.sees(problem, status="withdrawn")
    regions.origin.sees(problem, status="verified", referred_to=None)
    regions.origin.does(problem, "refer", **again)


def test_an_acceptance_that_a_withdrawal_crosses_stands(regions: Regions) -> None:
    problem = regions.referred()
    regions.carry()
    regions.receiver.does(problem, "accept-referral")
    regions.origin.does(problem, "withdraw-referral")
    regions.origin.does(problem, "analyse", root_cause="Kabel putus")
    regions.carry()
    regions.origin.sees(problem, status="handed_over", referred_to=regions.receiver.name)
    regions.receiver.sees(problem, status="verified")
    assert ("ReferralDeclined" in str(regions.receiver.history(problem))) is False


def test_a_problem_that_is_referred_back_is_the_one_that_it_was(regions: Regions) -> None:
    origin, receiver = regions.origin, regions.receiver
    problem = regions.referred()
    regions.carry()
    receiver.does(problem, "accept-referral")
    regions.carry()
    receiver.does(problem, "refer", to=origin.name)
    regions.carry()
    origin.sees(problem, status="offered", referred_from=receiver.name)
    origin.does(problem, "accept-referral")
    regions.carry()
    shown = origin.sees(problem, status="verified", anonymous=False)
    receiver.sees(problem, status="handed_over", referred_to=origin.name)
    origin.does(problem, "analyse", root_cause="Kabel putus")
    regions.carry()
    first = origin.http.get(f"/v1/problems/{problem}/history").json()[0]
    assert datetime.fromisoformat(shown["reported_at"]) == datetime.fromisoformat(first["time"])
    histories = [office.history(problem) for office in (origin, receiver)]
    assert (
        histories[0].count((origin.name, "ProblemReported"))
        == histories[1].count((origin.name, "ProblemReported"))
        == 1
    )
    assert (origin.name, "ProblemAnalysed") in histories[1]


def test_what_comes_twice_counts_once(regions: Regions) -> None:
    problem = regions.referred()
    regions.carry(twice=True)
    regions.receiver.does(problem, "accept-referral")
    regions.carry(twice=True)
    regions.origin.sees(problem, status="handed_over")
    for office in (regions.origin, regions.receiver):
        history = office.history(problem)
        assert len(history) == len(set(history))


def test_the_answers_of_two_regions_count_both_though_one_id_is_theirs(regions: Regions) -> None:
    """As they have where one program gives both the same Idempotency-Key."""
    origin, third = regions.origin, "third"
    known = "insert into other_region (name, public_key, heard_at) values ($1, $2, now())"
    origin.running.ask("reports", known, third, origin.public_key())
    problem = regions.referred()
    regions.carry()
    answer = {"code": "no_capacity", "reason": "Kurang orang"}
    regions.receiver.does(problem, "decline-referral", **answer)
    regions.carry()
    origin.does(problem, "refer", to=third)
    origin.sees(problem, status="referred", referred_to=third)
    page = regions.receiver.http.get("/v1/events", params={"limit": 500}).raise_for_status()
    events = msgspec.json.decode(page.content, type=list[CloudEvent])
    [said] = [event for event in events if (event.subject, event.type) == (problem, "ReferralDeclined")]
    data = msgspec.json.encode(answer | {"origin": origin.name, "to": third})
    as_third = msgspec.structs.replace(said, region=third, source=f"/polmas/{third}/reports", data=msgspec.Raw(data))
    asyncio.run(regions.deliver([(origin.name, as_third)]))
    origin.sees(problem, status="verified", referred_to=None)


def test_an_offer_under_the_id_of_another_problem_goes_back_and_says_so(regions: Regions) -> None:
    problem = regions.referred()
    other = ProblemReported(REPORT["area"], "theft", "Motor hilang", "", "public")
    asyncio.run(_recorded(regions.receiver, UUID(problem), other, uuid4()))
    regions.carry()
    regions.receiver.sees(problem, status="reported", title="Motor hilang", referred_from=None, version=2)
    regions.origin.sees(problem, status="verified", referred_to=None)
    returned = regions.origin.http.get(f"/v1/problems/{problem}/history").json()[-1]
    assert (returned["type"], returned["data"]["code"]) == ("ReferralReturned", "id_taken")


def test_a_brief_that_is_for_another_key_is_set_aside_and_holds_up_nobody(regions: Regions) -> None:
    origin, receiver = regions.origin, regions.receiver
    lost, fine = origin.verified(), origin.verified()
    believe = "update other_region set public_key = $2 where name = $1"
    origin.running.ask("reports", believe, receiver.name, origin.public_key())
    origin.does(lost, "refer", to=receiver.name)
    origin.running.ask("reports", believe, receiver.name, receiver.public_key())
    origin.does(fine, "refer", to=receiver.name)
    regions.carry()
    receiver.sees(fine, status="offered")
    assert receiver.http.get(f"/v1/problems/{lost}").status_code == 404
    query = "select error from quarantine where stream_id = $1 and follower = 'referrals'"
    [aside] = receiver.running.ask("reports", query, lost)
    assert "NotForUs" in aside[0]


def test_what_no_region_of_ours_would_say_comes_neither_into_rows_nor_into_a_history(regions: Regions) -> None:
    """Whoever has admitted a region does not vouch for what it runs."""
    origin, receiver = regions.origin, regions.receiver
    at = datetime(2026, 3, 2, tzinfo=UTC)

    def told(kind: str, data: str) -> Earlier:
        return Earlier(origin.name, uuid4(), kind, 2, 1, 1, REPORT["area"], at, data)

    def refers(title: str, *history: Earlier) -> str:
        problem, recorded_as = uuid4(), uuid4()
        brief = msgspec.json.encode(Brief(title, "", "", "", "", history))
        sealed = seal_for(receiver.public_key(), brief, brief_about(problem, recorded_as))
        event = ProblemReferred(origin.name, receiver.name, REPORT["area"], "noise", "public", at, sealed)
        asyncio.run(_recorded(origin, problem, event, recorded_as))
        return str(problem)

    odd = refers(
        "Bising", told("ProblemVerified", "no JSON"), told("ProblemExploded", "{}"), told("ProblemVerified", "{}")
    )
    broken = refers("Bising\0")
    fine = refers("Bising")
    regions.carry()
    for problem in (odd, fine):
        receiver.sees(problem, status="offered", title="Bising")
    seen = [(origin.name, "ProblemVerified"), (origin.name, "ProblemReferred"), (receiver.name, "ReferralOffered")]
    assert receiver.history(odd) == seen
    assert receiver.http.get(f"/v1/problems/{broken}").status_code == 404
    query = "select follower from quarantine where stream_id = $1"
    assert [row[0] for row in receiver.running.ask("reports", query, broken)] == ["referrals"]


def test_whom_a_problem_can_be_referred_to_is_told_and_nobody_else_is_taken(regions: Regions) -> None:
    names = [one["name"] for one in regions.origin.http.get("/v1/regions").json()]
    assert regions.receiver.name in names
    problem = regions.origin.verified()
    for to, status, rule in (
        ("atlantis", 422, "unknown-region"), (regions.origin.name, 422, "own-region"), ("Jatim!", 400, "invalid-input"),
    ):  # fmt: skip
        answer = regions.origin.asks(problem, "refer", to=to)
        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{rule}")
        assert answer.json()["errors"][0]["field"] == "to"
    assert regions.origin.refuses(str(uuid4()), "refer", to=regions.receiver.name) == (404, "unknown-problem")


def test_a_retried_referral_is_one(regions: Regions) -> None:
    problem = regions.origin.verified()
    path, key = f"/v1/problems/{problem}/refer", {"Idempotency-Key": str(uuid4())}
    answers = [regions.origin.http.post(path, json={"to": regions.receiver.name}, headers=key) for _ in range(2)]
    assert answers[0].raise_for_status().json() == answers[1].raise_for_status().json()


def test_one_key_in_two_regions_names_two_problems(regions: Regions) -> None:
    assert regions.origin.reported("shared-key") != regions.receiver.reported("shared-key")


def test_a_report_from_before_ids_were_a_regions_own_is_still_retried_as_the_same(regions: Regions) -> None:
    given = str(uuid4())
    report = msgspec.convert(REPORT, ProblemReport)
    key = str(derive_id("ProblemReport", "", given))
    metadata = Metadata(fingerprint=fingerprint(report, given))
    command = ReportProblem(report.area, report.category, report.title, "", report.disclosure)
    asyncio.run(_handled(regions.origin, derive_id("problem", key), command, key, metadata))
    assert regions.origin.reported(given) == str(derive_id("problem", key))
    assert regions.origin.reported(given) == str(derive_id("problem", key))
    other = regions.origin.http.post(
        "/v1/problems", json=REPORT | {"title": "Lain"}, headers={"Idempotency-Key": given}
    )
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_what_other_regions_told_is_rebuilt_like_all_else(regions: Regions) -> None:
    """Last in this file: by now everything has happened."""
    for office in (regions.origin, regions.receiver):
        done = office.running.run("reports", "rebuild", "compare")
        said = [json.loads(line) for line in done.stdout.splitlines()]
        compared = {one["table"]: one for one in said if one["kind"] == "compared"}
        for table in ("problem", "elsewhere"):
            assert compared[table]["rows"] > 10
            assert [compared[table][name] for name in ("only_live", "only_new", "changed")] == [0, 0, 0], said


async def _recorded(
    office: Office, stream_id: UUID, event: ProblemReported | ProblemReferred, recorded_as: UUID
) -> None:
    log = EventLog(office.running.region.database("reports").service_url, CODEC)
    await log.start()
    await log.append(stream_id, 0, [recorded_as], [event], event.area, Metadata())
    await log.stop()


async def _handled(office: Office, stream_id: UUID, command: ReportProblem, key: str, metadata: Metadata) -> None:
    log = EventLog(office.running.region.database("reports").service_url, CODEC)
    await log.start()
    await handle(log, PROBLEM, stream_id, command, key, metadata, new=True)
    await log.stop()
