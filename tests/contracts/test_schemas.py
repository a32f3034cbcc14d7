"""What was released stays what it says: a JSON Schema for every version of every event, never broken."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from rembuk.contracts import schemas
from rembuk.contracts.document import SERVICES
from rembuk.contracts.schemas import breaks, released, schema, write
from rembuk.events.event import schema_uri

ROOT = Path(__file__).parents[2]
FOLDER = Path(schemas.__file__).parent / "schemas"
SAMPLES = sorted(Path(__file__).parent.glob("*/*.json"))
FILES = sorted(FOLDER.rglob("*.json"))
EVENTS = [(service, event) for service, module in SERVICES.items() for event in module.CODEC.types.values()]


def test_every_version_of_every_event_has_a_schema() -> None:
    expected = {
        f"{service}/{event.__name__}.{version}.json"
        for service, event in EVENTS
        for version in range(1, event.schema_version + 1)
    }
    assert {str(file.relative_to(FOLDER)) for file in FILES} == expected


def test_the_newest_are_what_the_contracts_say(tmp_path: Path) -> None:
    write(tmp_path)
    for written in tmp_path.rglob("*.json"):
        kept = FOLDER / written.relative_to(tmp_path)
        assert kept.read_text() == written.read_text(), (
            "run `make docs`; has the event's shape changed? Then its version"
        )


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.parent.name}/{sample.stem}")
def test_what_was_recorded_in_a_version_is_valid_by_its_schema(sample: Path) -> None:
    name, version = sample.stem.split(".")
    kept = json.loads(released(sample.parent.name, name, int(version)) or b"")
    assert kept["$id"] == schema_uri(sample.parent.name, name, int(version))
    jsonschema_rs.Draft202012Validator(kept, validate_formats=True).validate(json.loads(sample.read_text()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_no_schema_breaks_what_any_commit_has_released_under_its_name(file: Path) -> None:
    """git remembers; a checkout without it (an archive) has nothing to compare with."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git history here")
    name = file.relative_to(ROOT).as_posix()
    commits = _git("log", "--format=%H", "--diff-filter=AM", "--", name).split()
    now = json.loads(file.read_text())
    for commit in commits:
        assert breaks(json.loads(_git("show", f"{commit}:{name}")), now) == [], commit


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_no_schema_is_told_of_what_there_is_not() -> None:
    for service, event, version in (
        ("reports", "ProblemReported", 3), ("reports", "ProblemReported", 0), ("reports", "ForumHeld", 1),
        ("../reports", "ProblemReported", 1), ("reports", "../reports/ProblemReported", 1), ("x", "y", 1),
    ):  # fmt: skip
        assert released(service, event, version) is None


def _altered(change: Any) -> list[str]:
    [event] = [event for _, event in EVENTS if event.__name__ == "SolutionApplied"]
    before = schema("reports", event)
    now = copy.deepcopy(before)
    change(now)
    return breaks(before, now)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["properties"].update(place={"type": "string", "default": ""}),
        lambda one: one.update(description="In other words"),
        lambda one: one["properties"]["done"].update(description="What was done"),
    ],
    ids=["an optional field comes to be", "an event is told in other words", "a field is told in other words"],
)
def test_what_nobody_who_reads_it_has_to_know_may_change(change: Any) -> None:
    assert _altered(change) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["properties"].pop("done"),
        lambda one: one["properties"]["done"].update(type="integer"),
        lambda one: one["$defs"]["Strategy"]["enum"].append("another"),
        lambda one: one["required"].append("pillars"),
        lambda one: one["required"].remove("done"),
        lambda one: one.update(additionalProperties=False),
    ],
    ids=["field gone", "another type", "another value", "now required", "no longer required", "nothing may come"],
)
def test_anything_else_is_a_new_version(change: Any) -> None:
    assert _altered(change) != []


def test_a_field_may_be_named_as_a_word_of_json_schema_is() -> None:
    before = {"properties": {"title": {"type": "string"}, "description": {"type": "string"}}}
    assert breaks(before, {"properties": {"title": {"type": "integer"}}}) == [
        "/properties/description", "/properties/title/type"
    ]  # fmt: skip
