"""Run one process of the service, `python -m reports api | worker | migrate`; and what it consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rembuk.main import run
from rembuk.service import Service, WorkerProcess

if TYPE_CHECKING:  # each part is imported when it is asked for
    from collections.abc import Sequence

    from litestar.types import ASGIApp
    from rembuk.events.codec import Codec
    from rembuk.events.event import RecordedEvent
    from rembuk.flow.handler import Handler
    from rembuk.log.event_log import EventLog
    from rembuk.postgres.bulk import Change
    from rembuk.settings import Settings
    from sqlalchemy import Table


class Reports(Service):
    """Problems of public security, from the report to the end."""

    name = "reports"

    def codec(self) -> Codec:
        from rembuk.contracts.reports import CODEC

        return CODEC

    def tables(self) -> Sequence[Table]:
        from reports.tables import metadata

        return metadata.sorted_tables

    def project(self, fact: RecordedEvent[Any]) -> Sequence[Change]:
        from reports.projection import project

        return project(fact)

    def handlers(self, settings: Settings, log: EventLog) -> Sequence[Handler]:
        from reports.worker import handlers

        return handlers(settings, log)

    def api(self, settings: Settings) -> ASGIApp:
        from reports.app import build

        return build(settings)

    def worker(self, settings: Settings) -> WorkerProcess:
        from reports.worker import build

        return build(settings)


def main() -> None:
    run(Reports())


if __name__ == "__main__":
    main()
