"""The worker process of forums, put together by hand: relay, projections, reactions."""

from collections.abc import Sequence

from faststream.nats import NatsBroker
from rembuk.checkpoints import Checkpoint
from rembuk.contracts import reports
from rembuk.contracts.forums import CODEC
from rembuk.event_log import EventLog
from rembuk.following import Follower
from rembuk.projector import Projector
from rembuk.reactions import Reactor
from rembuk.settings import Settings
from rembuk.streams import stream_name
from rembuk.worker import Worker

from forums import projection, reactions


def build(settings: Settings) -> Worker:
    log = EventLog(settings.database_url, CODEC, f"{settings.name} reactions")
    ours = stream_name(settings.region, "forums")
    reports_stream = stream_name(settings.region, "reports")

    def checkpoint(name: str, stream: str) -> Checkpoint:
        return Checkpoint(settings.database_url, name, stream)

    def followers(broker: NatsBroker) -> Sequence[Follower]:
        rows = Projector(checkpoint(projection.NAME, ours), CODEC, projection.project)
        open_problems = Projector(
            checkpoint(projection.OPEN_PROBLEMS, reports_stream),
            reports.CODEC,
            projection.project_open_problems,
        )
        commitments = Reactor(checkpoint(reactions.NAME, ours), CODEC, reactions.react, log)
        return [
            Follower(
                broker, one.checkpoint.stream, f"{settings.name}_{one.checkpoint.follower}",
                one.checkpoint.position, one.process,
            )
            for one in (rows, open_problems, commitments)
        ]  # fmt: skip

    return Worker(settings, followers, start=[log.start], stop=[log.stop])
