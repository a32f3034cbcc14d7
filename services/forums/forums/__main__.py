"""Run one process of the service, `python -m forums api | worker | migrate`; and what it consists of."""

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


class Forums(Service):
    """Where police and community deliberate."""

    name = "forums"

    def codec(self) -> Codec:
        from rembuk.contracts.forums import CODEC

        return CODEC

    def tables(self) -> Sequence[Table]:
        from forums.tables import metadata

        return metadata.sorted_tables

    def project(self, fact: RecordedEvent[Any]) -> Sequence[Change]:
        from forums.projection import project

        return project(fact)

    def handlers(self, settings: Settings, log: EventLog) -> Sequence[Handler]:
        from forums.worker import handlers

        return handlers(settings, log)

    def api(self, settings: Settings) -> ASGIApp:
        from forums.app import build

        return build(settings)

    def worker(self, settings: Settings) -> WorkerProcess:
        from forums.worker import build

        return build(settings)


def main() -> None:
    run(Forums())


if __name__ == "__main__":
    main()
