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

import pytest
from rembuk.provisioning import SERVICES
from rembuk.testing.services import PARTNER, RunningRegion

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


@pytest.fixture(scope="module")
def asked(
    start_region: Callable[..., RunningRegion], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """schemathesis as it asks each of the services, all at the same time."""
    running = start_region()
    with ExitStack() as stack:
        yield {
            service: stack.enter_context(
                subprocess.Popen(
                    [
                        *(Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIG),
                        *("run", f"{running.url(service)}/schema", "--no-color"),
                        *("--header", f"Authorization: {PARTNER['Authorization']}"),
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_answers_as_its_document_says(asked: dict[str, subprocess.Popen[str]], service: str) -> None:
    said, _ = asked[service].communicate()
    assert asked[service].returncode == 0, said
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None
    assert int(generated[1]) > 500, said
