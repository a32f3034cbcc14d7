"""schemathesis against each service's own OpenAPI document: whatever the document allows is answered as it says."""

from collections.abc import Callable

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from rembuk.testing.services import RunningRegion
from schemathesis import GenerationMode

EXAMPLES = 25


@pytest.fixture(scope="module")
def running(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region()


def _document(running: RunningRegion, service: str) -> schemathesis.BaseSchema:
    config = schemathesis.Config()
    config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    return schemathesis.openapi.from_url(f"{running.url(service)}/schema", config=config)


@pytest.fixture(scope="module")
def reports(running: RunningRegion) -> schemathesis.BaseSchema:
    return _document(running, "reports")


@pytest.fixture(scope="module")
def forums(running: RunningRegion) -> schemathesis.BaseSchema:
    return _document(running, "forums")


@pytest.fixture(scope="module")
def notifications(running: RunningRegion) -> schemathesis.BaseSchema:
    return _document(running, "notifications")


def _checked(case: schemathesis.Case) -> None:
    case.call_and_validate()


for _service in ("reports", "forums", "notifications"):
    _test = schemathesis.pytest.from_fixture(_service).parametrize()(
        settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))(
            lambda case: _checked(case)
        )
    )
    globals()[f"test_{_service}_answers_as_its_document_says"] = _test
