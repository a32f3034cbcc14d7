"""schemathesis against the hub's own OpenAPI document: whatever is asked, it is answered as the document says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rembuk.testing.services import PARTNER

from tests.hub.conftest import Hub, reported

SYSTEM = Path(__file__).parents[1] / "system"


@pytest.mark.timeout(300)
async def test_the_hub_answers_as_its_document_says(hub: Hub, tmp_path: Path) -> None:
    region = hub.admitted()
    await hub.told(region, reported(), reported())
    hub.comes_to(region, "level", 2)
    said = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", SYSTEM / "schemathesis.toml"),
            *("run", f"{hub.service.url('hub')}/schema", "--no-color"),
            *("--header", f"Authorization: {PARTNER['Authorization']}"),
        ],
        cwd=tmp_path, env=os.environ | {"SCHEMATHESIS_HOOKS": str(SYSTEM / "schemathesis_hooks.py")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout
    generated = re.search(r"(\d+) generated", said.stdout)
    assert generated is not None
    assert int(generated[1]) > 300, said.stdout
