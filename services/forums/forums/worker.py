"""The worker process of forums, put together by hand: relay, projections, reactions."""

from rembuk.contracts import reports
from rembuk.contracts.forums import CODEC
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.handler import Handler
from rembuk.flow.projector import Projector
from rembuk.flow.reactions import Reactor
from rembuk.log.event_log import EventLog
from rembuk.settings import Settings
from rembuk.worker import Worker

from forums import projection, reactions


def build(settings: Settings) -> Worker:
    log = EventLog(settings.database_url, CODEC, f"{settings.name} reactions")
    return Worker(settings, handlers(settings, log), start=[log.start], stop=[log.stop])


def handlers(settings: Settings, log: EventLog) -> list[Handler]:
    """What is made of which stream; `log` is our own."""
    open_problems = Checkpoint.of(settings, projection.OPEN_PROBLEMS, "reports")
    return [
        Projector(Checkpoint.of(settings, projection.NAME, "forums"), CODEC, projection.project),
        Projector(open_problems, reports.CODEC, projection.project_open_problems),
        Reactor(Checkpoint.of(settings, reactions.NAME, "forums"), CODEC, reactions.react, log),
    ]
