"""The HTTP face of notifications, by resource: a request becomes a command, an outcome becomes an answer."""

from collections.abc import Callable
from typing import Any

from rembuk.log.event_log import EventLog
from rembuk.sealing.vault import Vault

from notifications.api import alerts, stopping, subscriptions
from notifications.queries import NotificationQueries


def routes(log: EventLog, vault: Vault, queries: NotificationQueries, code_pause: Callable[[int], float]) -> list[Any]:
    """Every route of the service but those that all services share; `code_pause` as for `subscriptions.routes`."""
    return [
        *subscriptions.routes(log, vault, code_pause),
        *stopping.routes(log, vault, queries),
        *alerts.routes(log, queries),
    ]
