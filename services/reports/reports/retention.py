"""Retention: who reported a problem that ended long ago is erased. What happened, and what was done, stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from rembuk.events.event import Metadata
from rembuk.flow.sweeping import now, sweep_until_cancelled
from rembuk.log.event_log import EventLog
from rembuk.postgres.database import KeptConnection
from rembuk.sealing.persons import ErasePerson, erase
from rembuk.sealing.vault import Vault

BATCH = 100

_DUE = """
    select area, reporter_of from problem
    where reporter_of is not null and (status in ('closed', 'rejected') or referral = 'handed_over')
      and reported_at < $1 and changed_at < $1
      and not exists (select from erased where id = reporter_of)
    order by reported_at limit $2"""

_log = structlog.get_logger(__name__)


class Retention:
    """`run` is a worker's task. A problem ends when it is closed, rejected or handed over; reopened, it has not
    ended."""

    def __init__(
        self, database_url: str, log: EventLog, vault: Vault, days: int, clock: Callable[[], datetime] = now
    ) -> None:
        self._connection = KeptConnection(database_url, "reports retention")
        self._log, self._vault, self._clock = log, vault, clock
        self._kept = timedelta(days=days)

    async def run(self) -> None:
        """Erase who is due, a batch at a time, until cancelled."""
        await sweep_until_cancelled("retention", self._connection, self.sweep, BATCH)

    async def sweep(self) -> int:
        """Erase up to `BATCH` reporters who are due, those who reported first; how many there were.

        Each is recorded by itself, so that whatever interrupts it, the next one goes on."""
        connection = await self._connection.get()
        due = await connection.fetch(_DUE, self._clock() - self._kept, BATCH)
        for row in due:
            command = ErasePerson(row["area"], row["reporter_of"], "retention")
            key = f"retention:{command.person}"
            await erase(self._log, self._vault, command, key, Metadata(correlation_id=key, actor="retention"))
        if due:
            _log.info("reporters erased", reporters=len(due))
        return len(due)
