"""Lost keys are written off: the log says so of each person, once, whatever interrupts it; `/open` says why."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from rembuk.events.codec import Codec
from rembuk.events.event import Event
from rembuk.log.event_log import EventLog
from rembuk.operations import custody
from rembuk.operations.errands import errand
from rembuk.sealing.missing_keys import COUNT, Missing
from rembuk.sealing.vault import stream_of
from rembuk.settings import CannotRun, Settings
from rembuk.testing.asking import asked
from rembuk.testing.services import PARTNER, RunningRegion, eventually
from reports.__main__ import Reports

pytestmark = pytest.mark.timeout(120)
AREA = "35.78.08.1004"
REPORT = {
    "area": AREA,
    "category": "theft",
    "title": "Motor hilang",
    "description": "Di depan rumah.",
    "reporter": {"name": "Siti Kenari"},
}
_TEXTS_OF = "(select texts_of from problem where id = any($1::uuid[]))"


@pytest.fixture(scope="module")
def running(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region("reports")


def report(running: RunningRegion) -> str:
    """A problem that is shown."""
    url = f"{running.url('reports')}/v1/problems"
    made = httpx.post(url, json=REPORT).raise_for_status().json()
    httpx.get(f"{url}/{made['id']}", params={"at_least": made["position"]}).raise_for_status()
    return str(made["id"])


def ask(running: RunningRegion, query: str, *arguments: Any) -> Any:
    return asked(running.region.database("reports").owner_url, query, *arguments)


def lose(running: RunningRegion, *problems: str) -> None:
    """The keys of what was written of some problems are gone, and not those of their reporters."""
    ask(running, f"delete from vault_key where person in {_TEXTS_OF}", list(problems))


def settings(running: RunningRegion) -> Settings:
    return Settings.load("reports", running.region.environment("reports"))


def told(settings: Settings, name: str, *arguments: str, steps: int = -1) -> list[Any]:
    """What an errand answers, until its end or for so many steps, after which it is killed."""

    async def tell() -> list[Any]:
        answers = errand(Reports(), settings, name, arguments)
        assert answers is not None
        said: list[Any] = []
        async for answer in answers:
            said.append(answer)
            if len(said) == steps:
                await answers.aclose()  # type: ignore[attr-defined]
                break
        return said

    return asyncio.run(tell())


def erasures(running: RunningRegion) -> list[dict[str, Any]]:
    query = {"limit": 500}
    events = httpx.get(f"{running.url('reports')}/v1/events", headers=PARTNER, params=query).raise_for_status().json()
    return [event for event in events if event["type"] == "PersonErased"]


def opened(running: RunningRegion, problem: str) -> dict[str, Any]:
    url = f"{running.url('reports')}/v1/problems/{problem}/open"
    wish = {"fields": ["description"], "reason": "penyelidikan", "by": "officer:4711"}
    [item] = httpx.post(url, json=wish).raise_for_status().json()["items"]
    return {name: item[name] for name in ("value", "erased", "fault", "ground")}


def missing(running: RunningRegion) -> int:
    [row] = ask(running, COUNT)
    return int(row["count"])


def test_lost_keys_are_written_off_once_although_it_is_killed_half_way_and_people_go_on_reporting(
    running: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custody, "AT_ONCE", 2)
    lost, kept = [report(running) for _ in range(5)], report(running)
    lose(running, *lost)
    assert missing(running) == 5
    eventually(lambda: only_missing(running, lost[0]))
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            report(running)

    people = threading.Thread(target=go_on)
    people.start()
    try:
        found = told(settings(running), "missing-keys")
        assert [one.area for one in found] == [AREA] * 5
        assert told(settings(running), "write-off", "5", steps=1) == [2]
        assert missing(running) == 3
        assert sum(told(settings(running), "write-off", "3")) == 3
        assert told(settings(running), "missing-keys") == []
        with pytest.raises(CannotRun, match="the keys of 0 persons are missing, not of 3"):
            told(settings(running), "write-off", "3")
    finally:
        over.set()
        people.join()
    events = erasures(running)
    assert {event["data"]["person"] for event in events} == {str(one.person) for one in found}
    assert [(event["data"]["ground"], event["area"], event["actor"]) for event in events] == [
        ("lost", AREA, "operator")
    ] * 5
    assert missing(running) == 0
    eventually(lambda: forgotten(running))
    assert opened(running, lost[0]) == {"value": None, "erased": True, "fault": None, "ground": "lost"}
    assert opened(running, kept)["value"] == REPORT["description"]


def only_missing(running: RunningRegion, problem: str) -> None:
    assert opened(running, problem) == {"value": None, "erased": False, "fault": "key-missing", "ground": None}


def forgotten(running: RunningRegion) -> None:
    """The eraser has gone over it."""
    assert ask(running, "select person from key_missing") == []


def test_whose_keys_came_back_before_is_not_written_off_and_who_came_back_after_stays_out(
    running: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    back, gone = report(running), report(running)
    rows = ask(running, f"select person, wrapped, key_id from vault_key where person in {_TEXTS_OF}", [back, gone])
    add = "insert into vault_key (person, wrapped, key_id) values ($1, $2, $3) returning person"
    lose(running, back, gone)
    found = told(settings(running), "missing-keys")
    with pytest.raises(CannotRun, match="the keys of 2 persons are missing, not of 1"):
        told(settings(running), "write-off", "1")
    by_person = {row["person"]: row for row in rows}
    [first, second] = [by_person[one.person] for one in found]

    async def found_before(*_: object) -> list[Missing]:
        return found

    monkeypatch.setattr(custody, "find", found_before)
    assert ask(running, add, *first) == [(first["person"],)]
    assert told(settings(running), "write-off", "2") == [1]
    assert ask(running, add, *second) == []
    assert missing(running) == 0
    assert opened(running, back)["value"] == REPORT["description"]
    assert opened(running, gone)["ground"] == "lost"


def test_a_vault_that_does_not_answer_has_lost_nothing(running: RunningRegion) -> None:
    away = msgspec.structs.replace(settings(running), database_url="postgresql://x@127.0.0.1:1/x")
    for name, arguments in (("missing-keys", ()), ("write-off", ("1",))):
        with pytest.raises(CannotRun):
            told(away, name, *arguments)


class PersonErased(Event, frozen=True):
    """As a later release may record it."""

    schema_version: ClassVar[int] = 3

    area: str
    person: UUID
    ground: str


def test_who_is_erased_on_a_ground_of_a_later_release_is_erased(running: RunningRegion) -> None:
    problem = report(running)
    [row] = ask(running, "select texts_of from problem where id = $1", UUID(problem))

    async def erased() -> None:
        codec = Codec((PersonErased,), {("PersonErased", 1): dict, ("PersonErased", 2): dict})
        log = EventLog(running.region.database("reports").service_url, codec)
        await log.start()
        event = PersonErased(AREA, row["texts_of"], "of a later release")
        await log.append(stream_of(row["texts_of"]), 0, [uuid4()], [event], AREA)
        await log.stop()

    asyncio.run(erased())

    def shown() -> None:
        assert opened(running, problem) == {"value": None, "erased": True, "fault": None, "ground": None}
        one = httpx.get(f"{running.url('reports')}/v1/problems/{problem}").json()
        assert (one["description"], one["erased"]) == (None, True)

    eventually(shown)
    assert missing(running) == 0
