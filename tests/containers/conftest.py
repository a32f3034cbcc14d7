"""Tests in this folder are about servers in containers: they never run on embedded ones."""

import pytest
from rembuk.testing.receivers import sink, smtp
from rembuk.testing.servers import in_containers

__all__ = ["sink", "smtp"]


@pytest.fixture(autouse=True, scope="session")
def _in_containers() -> None:
    assert in_containers(), "run them by `make test-containers`"
