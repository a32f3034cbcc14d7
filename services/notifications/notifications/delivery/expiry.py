"""Expiry: a subscription that nobody confirms ends after some days, and its contact is erased."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from rembuk.events.decider import Refused
from rembuk.events.event import Metadata
from rembuk.flow.sweeping import now, sweep_until_cancelled
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle
from rembuk.postgres.database import KeptConnection
from rembuk.sealing.vault import Vault

from notifications.commands import StopSubscription
from notifications.domain import SUBSCRIPTION

BATCH = 100

_DUE = "select id from subscription where status = 'requested' and requested_at < $1 order by requested_at limit $2"

_log = structlog.get_logger(__name__)


class Expiry:
    """`run` is a worker's task; several may run."""

    def __init__(
        self, database_url: str, log: EventLog, vault: Vault, days: int, clock: Callable[[], datetime] = now
    ) -> None:
        self._connection = KeptConnection(database_url, "notifications expiry")
        self._log, self._vault, self._clock = log, vault, clock
        self._waits = timedelta(days=days)

    async def run(self) -> None:
        """End what is due, a batch at a time, until cancelled."""
        await sweep_until_cancelled("expiry", self._connection, self.sweep, BATCH)

    async def sweep(self) -> int:
        """End up to `BATCH` subscriptions that are due, the oldest first; how many there were. Whoever confirms at the
        same moment has confirmed."""
        connection = await self._connection.get()
        due: list[UUID] = [row["id"] for row in await connection.fetch(_DUE, self._clock() - self._waits, BATCH)]
        for id in due:
            key = f"expiry:{id}"
            metadata = Metadata(correlation_id=key, actor="expiry")
            with suppress(Refused):  # it has been confirmed
                await handle(self._log, SUBSCRIPTION, id, StopSubscription(id, "expired"), key, metadata)
                await self._vault.erase(id)
        if due:
            _log.info("unconfirmed subscriptions ended", subscriptions=len(due))
        return len(due)
