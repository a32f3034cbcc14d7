"""What a killed supervisor left behind, found by region.json and ended."""

from __future__ import annotations

from contextlib import suppress

import psutil  # type: ignore[import-untyped]
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import EmbeddedPostgres
from rembuk.process.state_file import Damaged

from rembuk_cli.home.directory import Home

ON_THEIR_OWN_S = 5.0
"""On Linux services get SIGTERM when their supervisor ends; so long they may take before we send it again."""
GRACE_S = 20.0


def end_leftovers(home: Home) -> int:
    """End every process of a region that no supervisor looks after, services first; how many there were."""
    try:
        noted = home.noted()
    except Damaged:
        services = _told_of(home)
    else:
        if noted is None or noted.supervisor.find() is not None:
            return 0
        left = {name: process for name, noticed in noted.processes.items() if (process := noticed.find()) is not None}
        services = [process for name, process in left.items() if name not in ("nats", "postgres")]
    servers = [EmbeddedNats(home.data / "nats", 0), EmbeddedPostgres(home.data / "postgres", 0)]
    ended = len(services) + sum(server.pid is not None for server in servers)
    _, alive = psutil.wait_procs(services, ON_THEIR_OWN_S)
    for process in alive:
        process.terminate()
    _, alive = psutil.wait_procs(alive, GRACE_S)
    for process in alive:
        process.kill()
    for server in servers:
        server.stop()
    home.forget()
    return ended


def _told_of(home: Home) -> list[psutil.Process]:
    """The services' processes as their environment gives them away, where region.json does not name them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("REMBUK_LOG_KEY") == str(home.log_key):
                found.append(process)
    return found
