"""schemathesis against each service's own OpenAPI document: whatever is sent, it is answered as the document says.

As processes, not by its pytest plugin: that one knows no pytest 9.2, and like this both cores are used.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.services import PARTNER, RunningRegion

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


def asked_elsewhere(running: RunningRegion) -> dict[str, list[str]]:
    """By service the paths of the kernel: they stand in the document of a service before it, word for word."""
    told: dict[str, Any] = {}
    found = {}
    for service in SERVICES:
        document = httpx.get(f"{running.url(service)}/schema", timeout=20).raise_for_status().json()
        found[service] = [path for path, said in document["paths"].items() if told.get(path) == said]
        told.update(document["paths"])
    return found


@pytest.fixture(scope="module")
def asked(
    start_region: Callable[..., RunningRegion], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """schemathesis as it asks each of the services, all at the same time; what is the same in all of them, of one."""
    running = start_region()
    elsewhere = asked_elsewhere(running)
    assert elsewhere["reports"] == []
    with ExitStack() as stack:
        yield {
            service: stack.enter_context(
                subprocess.Popen(
                    [
                        *(Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIG),
                        *("run", f"{running.url(service)}/schema", "--no-color"),
                        *("--header", f"Authorization: {PARTNER['Authorization']}"),
                        *(f"--exclude-path={path}" for path in elsewhere[service]),
                    ],
                    cwd=tmp_path_factory.mktemp(service),
                    env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for service in SERVICES
        }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_answers_as_its_document_says(asked: dict[str, subprocess.Popen[str]], service: str) -> None:
    said, _ = asked[service].communicate()
    assert asked[service].returncode == 0, said
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None
    assert int(generated[1]) > 500, said
