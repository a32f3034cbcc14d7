"""What a service consists of, as its `__main__` hands it to the kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from rembuk.settings import CannotRun, Settings

if TYPE_CHECKING:  # only types: each process reads no more than its own half
    from litestar.types import ASGIApp
    from sqlalchemy import Table

    from rembuk.events.codec import Codec
    from rembuk.events.event import RecordedEvent
    from rembuk.flow.handler import Handler
    from rembuk.log.event_log import EventLog
    from rembuk.log.sources import Ending
    from rembuk.postgres.bulk import Change


class WorkerProcess(Protocol):
    """A worker process."""

    async def run(self) -> bool:
        """Run until SIGTERM or SIGINT; False where a part of it failed."""
        ...


class Service(ABC):
    """One service. Each part is imported when it is asked for: the API reads nothing of the worker, and an operator's
    errand only what it needs."""

    name: str
    """A lower-case word: the service's Python package, and the middle part of its settings' names."""

    @abstractmethod
    def codec(self) -> Codec:
        """The events of its log."""

    @abstractmethod
    def tables(self) -> Sequence[Table]:
        """Its read models and ledgers, each after those that it refers to."""

    @abstractmethod
    def handlers(self, settings: Settings, log: EventLog) -> Sequence[Handler]:
        """What is made of which stream; `log` is its own. The first projects its own log."""

    @abstractmethod
    def api(self, settings: Settings) -> ASGIApp:
        """Its HTTP application. Raises CannotRun."""

    @abstractmethod
    def worker(self, settings: Settings) -> WorkerProcess:
        """Its worker. Raises CannotRun."""

    def project(self, fact: RecordedEvent[Any]) -> Sequence[Change]:
        """What an event of its own log changes in its rows, for a replay. Raises CannotRun where it has no log."""
        raise CannotRun(f"{self.name} records nothing that could be replayed")

    def sources(
        self, settings: Settings, streams: Sequence[str]
    ) -> AbstractAsyncContextManager[dict[str, Ending]] | None:
        """Where a rebuild reads each stream; None for its own log, and NATS for the others."""
        return None

    def verify(self, settings: Settings) -> AsyncIterator[Any] | None:
        """The steps of a verification; None for that of its own log."""
        return None

    def deliveries(self, settings: Settings, states: Sequence[str], reason: str, limit: int) -> AsyncIterator[Any]:
        """The deliveries in these states whose last attempt failed for a reason that begins so. Raises CannotRun."""
        raise CannotRun(f"{self.name} delivers nothing")

    def requeue(self, settings: Settings, delivery_id: UUID | None, reason: str = "") -> AsyncIterator[Any]:
        """Have a delivery tried again, or all that were given up for a reason that begins so. Raises CannotRun."""
        raise CannotRun(f"{self.name} delivers nothing")
