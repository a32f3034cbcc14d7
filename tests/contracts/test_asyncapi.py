"""docs/asyncapi.yaml is what the contracts say, AsyncAPI 3 by its authors' own parser, and true in its examples."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from rembuk.broker.stream_names import subject, subject_prefix
from rembuk.contracts.asyncapi import document, written
from rembuk.contracts.document import SERVICES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs/asyncapi.yaml"
PARSER = ROOT / ".ci/npm-packages"
DOCUMENT = document(HERE)
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
SAMPLES = {f"{sample.parent.name}.{sample.stem}" for sample in HERE.glob("*/*.json")}


def fits(schema: dict[str, Any], instance: object) -> None:
    """Raises where an instance does not, by a schema within the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema_rs.Draft7Validator(whole, validate_formats=True).validate(instance)


def found(text: str) -> dict[str, Any]:
    """What AsyncAPI's parser says, with Node from the PATH or as `.ci/npm` has fetched it."""
    node = shutil.which("node", path=f"{os.environ['PATH']}:{ROOT / '.ci/bin'}")
    if node is None or not (PARSER / "node_modules").exists():
        pytest.skip("AsyncAPI's parser is not at hand: .ci/npm fetches it, and Node where there is none")
    done = subprocess.run([node, "parse.mjs"], cwd=PARSER, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_page_is_what_the_contracts_say() -> None:
    assert PAGE.read_text() == written(HERE), "run `make docs`"


def test_the_page_is_read_as_it_was_meant() -> None:
    assert yaml.safe_load(PAGE.read_text()) == DOCUMENT


def test_asyncapis_own_parser_finds_nothing_wrong_or_doubtful() -> None:
    assert found(PAGE.read_text()) == {"read": True, "messages": len(SAMPLES), "found": []}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("#/components/parameters/region", "#/components/parameters/land"),
        ("action: send", "action: shout"),
        ("protocol: nats\n", ""),
        ("type: object", "type: thing"),
    ],
)
def test_the_parser_finds_what_is_wrong(right: str, wrong: str) -> None:
    page = PAGE.read_text()
    assert right in page
    assert found(page.replace(right, wrong, 1))["found"] != []


def test_every_version_of_every_event_is_a_message_of_its_channel_and_the_newest_is_sent() -> None:
    assert set(MESSAGES) == SAMPLES
    told = {ref["$ref"] for channel in DOCUMENT["channels"].values() for ref in channel["messages"].values()}
    assert told == {f"#/components/messages/{name}" for name in SAMPLES}
    for service, module in SERVICES.items():
        for name, event in module.CODEC.types.items():
            channel = f"#/channels/{service}.{name}"
            operation = DOCUMENT["operations"][f"send.{service}.{name}"]
            assert (operation["action"], operation["channel"]) == ("send", {"$ref": channel})
            assert operation["messages"] == [{"$ref": f"{channel}/messages/v{event.schema_version}"}]


@pytest.mark.parametrize("channel", DOCUMENT["channels"])
def test_an_address_is_the_subject_that_is_published_to(channel: str) -> None:
    service, event = channel.split(".")
    levels = {"province": "35", "regency": "78", "district": "08"}
    address = DOCUMENT["channels"][channel]["address"]
    assert set(re.findall(r"{(\w+)}", address)) == set(DOCUMENT["channels"][channel]["parameters"])
    assert address.format(region="jatim", **levels) == subject(subject_prefix("jatim", service), event, "35.78.08.1004")


@pytest.mark.parametrize("name", MESSAGES)
def test_an_example_fits_the_schemas_of_its_message(name: str) -> None:
    [example] = MESSAGES[name]["examples"]
    fits(MESSAGES[name]["headers"], example["headers"])
    fits(MESSAGES[name]["payload"], example["payload"])


@pytest.mark.parametrize(
    "change",
    [
        {"ce-id": "7"}, {"ce-type": "ForumFounded"}, {"ce-specversion": "0.3"}, {"ce-position": "0"},
        {"ce-dataschema": "rembuk:/schemas/reports/ProblemReported/1.json"}, {"ce-time": "yesterday"},
        {"ce-actor": "a b"}, {"traceparent": "none"}, {"ce-source": "/polmas"}, {"ce-datacontenttype": "text/plain"},
        {"ce-region": None},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_headers_that_nobody_publishes_do_not_fit(change: dict[str, str | None]) -> None:
    message = MESSAGES["reports.ProblemReported.2"]
    headers = message["examples"][0]["headers"] | change
    with pytest.raises(jsonschema_rs.ValidationError):
        fits(message["headers"], {name: value for name, value in headers.items() if value is not None})


def test_a_payload_that_lacks_something_does_not_fit() -> None:
    message = MESSAGES["reports.ProblemReported.1"]
    payload = message["examples"][0]["payload"]
    with pytest.raises(jsonschema_rs.ValidationError, match="title"):
        fits(message["payload"], {name: value for name, value in payload.items() if name != "title"})
    with pytest.raises(jsonschema_rs.ValidationError, match="location"):
        fits(message["payload"], payload | {"location": {"lat": -7.27}})


def test_a_schema_in_the_document_is_the_released_one() -> None:
    """But for where it says that it is, and where what it refers to stands."""
    for name, inside in DOCUMENT["components"]["schemas"].items():
        if name == "headers":
            continue
        service, file = name.split(".", 1)
        kept = (ROOT / f"shared/rembuk/contracts/schemas/{service}/{file}.json").read_text()
        told = json.dumps(inside).replace(f"#/components/schemas/{name}/", "#/")
        assert json.loads(kept) == {
            "$schema": json.loads(kept)["$schema"],
            "$id": json.loads(kept)["$id"],
        } | json.loads(told)
