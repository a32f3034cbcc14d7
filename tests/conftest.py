"""Every test may ask for the real PostgreSQL and the real nats-server."""

import gc
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

gc.disable()  # until all is collected, of which a fifth was a search for garbage that there is not
settings.register_profile("rembuk", deadline=None)  # on two busy cores any example may take long
settings.load_profile("rembuk")

pytest_plugins = ["rembuk.testing.servers", "rembuk.testing.services"]

TESTS = Path(__file__).parent
KERNEL = TESTS / "shared"
LONGEST_FIRST = (
    "test_runbook.py",
    *(f"system/test_{what}.py" for what in ("crashes", "outages")),
    *(f"hub/test_{what}.py" for what in ("watching", "partitions")),
    *("test_readme.py", "test_integrate.py"),
    *("system", "cli", "notifications", "hub"),
    *(f"shared/{where}" for where in ("operations", "flow", "embedded", "log")),
    *("test_architecture.py", "test_migrations.py", "shared/areas", "reports", "forums", "test_deploy.py", "contracts"),
)
"""Files that start whole regions or otherwise take long. They begin first (and make has xdist leave it so): at the end,
no worker has a long file before it while the others have nothing to do."""
SERVERS = {"postgres_url", "nats_url", "own_postgres", "own_nats"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Put them in order. Where servers are in containers, the kernel's tests that use one are container tests too."""
    items.sort(key=lambda item: _turn(item.path))
    from rembuk.testing.servers import in_containers  # not before pytest has it as a plugin

    if in_containers():
        for item in items:
            embedded_itself = item.path.name == "test_embedded.py"
            if item.path.is_relative_to(KERNEL) and not embedded_itself and SERVERS.intersection(item.fixturenames):
                item.add_marker(pytest.mark.containers)


def pytest_collection_finish() -> None:
    gc.freeze()  # what was collected stays until the end
    gc.enable()


@cache
def _turn(file: Path) -> int:
    turns = (n for n, place in enumerate(LONGEST_FIRST) if file.is_relative_to(TESTS / place))
    return next(turns, len(LONGEST_FIRST))
