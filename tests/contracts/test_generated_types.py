"""Programs make their types from docs/events.schema.json: one type for each version, one for each list of words."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema_rs
import pytest
from rembuk.contracts.bundle import bundle
from rembuk.contracts.schemas import Released, formatted, released_versions

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs/events.schema.json"
PACKAGES = ROOT / ".ci/npm-packages/node_modules"


def in_envelope(version: Released) -> dict[str, Any]:
    """A released sample as an event of the feed."""
    return {
        "specversion": "1.0", "id": "7394ce12-b203-5ad9-be73-587577508a7f", "type": version.type,
        "source": f"/polmas/jatim/{version.service}", "subject": "75cc9fc8-4680-59d7-b6b1-83718ffc9bfe",
        "time": "2026-11-26T23:18:54.783145+00:00", "datacontenttype": "application/json",
        "dataschema": version.uri, "region": "jatim", "position": 1, "version": 1, "area": "35.78",
        "data": json.loads((HERE / version.service / f"{version.type}.{version.version}.json").read_text()),
    }  # fmt: skip


def test_the_file_is_what_the_contracts_say() -> None:
    assert PAGE.read_bytes() == formatted(bundle()), "run `make docs`"


@pytest.mark.parametrize("version", released_versions(), ids=lambda one: f"{one.service}/{one.title}")
def test_an_event_fits_its_own_version_and_no_other(version: Released) -> None:
    every = jsonschema_rs.Draft202012Validator(bundle(), validate_formats=True)
    every.validate(in_envelope(version))  # by oneOf: exactly one
    assert not every.is_valid(in_envelope(version) | {"dataschema": "rembuk:/schemas/reports/Unheard/1.json"})


@pytest.fixture(scope="module")
def python_types(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """A module of Pydantic models as datamodel-code-generator writes it."""
    written = tmp_path_factory.mktemp("types") / "events.py"
    subprocess.run(
        [
            Path(sys.executable).with_name("datamodel-codegen"), "--input", PAGE, "--input-file-type", "jsonschema",
            "--output", written, "--output-model-type", "pydantic_v2.BaseModel", "--formatters", "builtin",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    spec = importlib.util.spec_from_file_location("generated_events", written)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generated_events"] = module
    spec.loader.exec_module(module)
    return module


def test_python_has_one_type_for_each_version_and_for_each_list_of_words(python_types: ModuleType) -> None:
    names = [name for name, value in vars(python_types).items() if isinstance(value, type)]
    assert {version.title for version in released_versions()} <= set(names)
    assert [name for name in names if name.startswith("Disclosure")] == ["Disclosure"]
    assert [name for name in names if name.startswith("Strategy")] == ["Strategy"]


def test_python_reads_an_event_as_the_version_it_is(python_types: ModuleType) -> None:
    for version in released_versions():
        read = python_types.RembukEvent.model_validate(in_envelope(version)).root
        assert type(read).__name__ == f"{version.service.capitalize()}{version.title}Event"
        assert type(read.data).__name__ == version.title


PROGRAM = """
import type { Disclosure, RembukEvent } from './events'

export function disclosureOf(event: RembukEvent): Disclosure | null {
  switch (event.dataschema) {
    case 'rembuk:/schemas/reports/ProblemReported/1.json':
    case 'rembuk:/schemas/reports/ProblemReported/2.json':
      return event.data.disclosure
    case 'rembuk:/schemas/forums/ForumFounded/1.json':
      return WRONG
    default:
      return null
  }
}
"""


def test_typescript_tells_events_apart_by_dataschema(tmp_path: Path) -> None:
    node = shutil.which("node", path=f"{os.environ['PATH']}:{ROOT / '.ci/bin'}")
    if node is None or not (PACKAGES / "json-schema-to-typescript").exists():
        pytest.skip("json-schema-to-typescript is not at hand: .ci/npm fetches it, and Node where there is none")

    def run(package: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [node, str(PACKAGES / package / script), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    made = run("json-schema-to-typescript", "dist/src/cli.js", "-i", str(PAGE), "-o", "events.ts")
    assert made.returncode == 0, made.stderr
    types = (tmp_path / "events.ts").read_text()
    assert types.count("export type Disclosure = ") == 1
    assert "Disclosure1" not in types
    for wrong, is_right in (("null", True), ("event.data.disclosure", False)):  # a forum has no disclosure
        (tmp_path / "program.ts").write_text(PROGRAM.replace("WRONG", wrong))
        checked = run("typescript", "bin/tsc", "--strict", "--noEmit", "--target", "es2022", "program.ts")
        assert (checked.returncode == 0) is is_right, checked.stdout
