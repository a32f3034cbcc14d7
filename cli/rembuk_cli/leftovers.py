"""What a killed supervisor left behind, found by region.json and ended."""

from __future__ import annotations

import psutil  # type: ignore[import-untyped]

from rembuk_cli.home import Home

ON_THEIR_OWN_S = 5.0
"""On Linux services get SIGTERM when their supervisor ends; so long they may take before we send it again."""
GRACE_S = 20.0


def end_leftovers(home: Home) -> int:
    """End every process of a region that no supervisor looks after, services first; how many there were."""
    noted = home.noted()
    if noted is None or noted.supervisor.find() is not None:
        return 0
    left = [process for noticed in noted.processes.values() if (process := noticed.find()) is not None]
    servers = {noted.processes[name].pid for name in ("nats", "postgres") if name in noted.processes}
    services = [process for process in left if process.pid not in servers]
    _, alive = psutil.wait_procs(services, ON_THEIR_OWN_S)
    for process in alive:
        process.terminate()
    _, alive = psutil.wait_procs(alive, GRACE_S)
    for process in alive:
        process.kill()
    home.nats(noted.region, noted.ports["nats"]).stop()
    home.postgres(noted.ports["postgres"]).stop()
    home.forget()
    return len(left)
