"""Run one process of the service, `python -m notifications api | worker | migrate`; and what it consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rembuk.main import run
from rembuk.service import Service, WorkerProcess

if TYPE_CHECKING:  # each part is imported when it is asked for
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from litestar.types import ASGIApp
    from rembuk.events.codec import Codec
    from rembuk.events.event import RecordedEvent
    from rembuk.flow.handler import Handler
    from rembuk.log.event_log import EventLog
    from rembuk.postgres.bulk import Change
    from rembuk.settings import Settings
    from sqlalchemy import Table


class Notifications(Service):
    """Who is told what, and that they were."""

    name = "notifications"

    def codec(self) -> Codec:
        from rembuk.contracts.notifications import CODEC

        return CODEC

    def tables(self) -> Sequence[Table]:
        from notifications.tables import metadata

        return metadata.sorted_tables

    def project(self, fact: RecordedEvent[Any]) -> Sequence[Change]:
        from notifications.projection import project

        return project(fact)

    def handlers(self, settings: Settings, log: EventLog) -> Sequence[Handler]:
        from notifications.worker import handlers

        return handlers(settings, log)

    def api(self, settings: Settings) -> ASGIApp:
        from notifications.app import build

        return build(settings)

    def worker(self, settings: Settings) -> WorkerProcess:
        from notifications.worker import build

        return build(settings)

    def deliveries(self, settings: Settings, states: Sequence[str], reason: str, limit: int) -> AsyncIterator[Any]:
        from notifications.delivery.requeueing import listed

        return listed(settings, states, reason, limit)

    def requeue(self, settings: Settings, delivery_id: UUID | None, reason: str = "") -> AsyncIterator[Any]:
        from notifications.delivery.requeueing import requeue

        return requeue(settings, delivery_id, reason)


def main() -> None:
    run(Notifications())


if __name__ == "__main__":
    main()
