"""Run one process of the service, `python -m hub api | worker | migrate`; and what it consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rembuk.main import run
from rembuk.service import Service, WorkerProcess

if TYPE_CHECKING:  # each part is imported when it is asked for
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from litestar.types import ASGIApp
    from rembuk.events.codec import Codec
    from rembuk.flow.handler import Handler
    from rembuk.log.event_log import EventLog
    from rembuk.log.sources import Ending
    from rembuk.settings import Settings
    from sqlalchemy import Table


class Hub(Service):
    """All regions together. It has no log of its own: mirrors of theirs are what is rebuilt from and verified."""

    name = "hub"

    def codec(self) -> Codec:
        from rembuk.contracts.hub import CODEC

        return CODEC

    def tables(self) -> Sequence[Table]:
        from hub.tables import metadata

        return metadata.sorted_tables

    def handlers(self, settings: Settings, log: EventLog) -> Sequence[Handler]:
        from hub.worker import handlers

        return handlers(settings, log)

    def api(self, settings: Settings) -> ASGIApp:
        from hub.app import build

        return build(settings)

    def worker(self, settings: Settings) -> WorkerProcess:
        from hub.worker import build

        return build(settings)

    def sources(self, settings: Settings, streams: Sequence[str]) -> AbstractAsyncContextManager[dict[str, Ending]]:
        from hub.mirrors import sources

        return sources(settings)

    def verify(self, settings: Settings) -> AsyncIterator[Any]:
        from hub.mirrors import verify

        return verify(settings)


def main() -> None:
    run(Hub())


if __name__ == "__main__":
    main()
