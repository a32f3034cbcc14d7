"""The worker process of the hub, put together by hand. Its own log is empty so far: nothing is relayed or signed."""

import structlog
from rembuk.flow.handler import Handler
from rembuk.log.event_log import EventLog
from rembuk.settings import Settings
from rembuk.worker import SideBySide

from hub import regions
from hub.regions import Regions, roster_of

_log = structlog.get_logger(__name__)


class HubWorker:
    """Reads the regions until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self._regions = Regions.told(settings)

    async def run(self) -> bool:
        """Whether it stopped because it was told to, and not because something failed."""
        side_by_side = SideBySide()
        side_by_side.stop_by_signal()
        side_by_side.keep(self._regions.run(), "regions")
        _log.info("worker runs")
        await side_by_side.stopping.wait()
        _log.info("worker stops")
        await self._regions.stop()
        await side_by_side.cancel()
        return not side_by_side.failed


def build(settings: Settings) -> HubWorker:
    return HubWorker(settings)


def handlers(settings: Settings, _: EventLog) -> list[Handler]:
    """What is made of which stream, of every region in the list, so that quarantine can be retried."""
    names = {one.name: None for one in roster_of(settings).read()}
    return [handler for name in names for made in regions.handlers(settings, name).values() for handler in made]
