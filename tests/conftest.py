"""Every test may ask for the real PostgreSQL and the real nats-server."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("rembuk")  # on two busy cores any example may take long
settings.load_profile("rembuk")

pytest_plugins = ["rembuk.testing.servers", "rembuk.testing.services"]

KERNEL = Path(__file__).parent / "shared"
SERVERS = {"postgres_url", "nats_url", "own_postgres", "own_nats"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Where servers are in containers, the kernel's tests that use one are container tests too."""
    from rembuk.testing.servers import in_containers  # not before pytest has it as a plugin

    if in_containers():
        for item in items:
            embedded_itself = item.path.name == "test_embedded.py"
            if item.path.parent == KERNEL and not embedded_itself and SERVERS.intersection(item.fixturenames):
                item.add_marker(pytest.mark.containers)
