"""The worker process of reports, put together by hand: relay, projection, reactions."""

from collections.abc import Sequence

from faststream.nats import NatsBroker
from rembuk.checkpoints import Checkpoint
from rembuk.contracts import forums
from rembuk.contracts.reports import CODEC
from rembuk.event_log import EventLog
from rembuk.following import Follower
from rembuk.projector import Projector
from rembuk.reactions import Reactor
from rembuk.settings import Settings
from rembuk.streams import stream_name
from rembuk.worker import Worker

from reports import projection, reactions


def build(settings: Settings) -> Worker:
    log = EventLog(settings.database_url, CODEC, f"{settings.name} reactions")
    ours = stream_name(settings.region, "reports")
    forums_stream = stream_name(settings.region, "forums")

    def followers(broker: NatsBroker) -> Sequence[Follower]:
        rows = Projector(Checkpoint(settings.database_url, projection.NAME, ours), CODEC, projection.project)
        agreements = Reactor(
            Checkpoint(settings.database_url, reactions.NAME, forums_stream), forums.CODEC, reactions.react, log
        )
        return [
            Follower(broker, ours, f"{settings.name}_{projection.NAME}", rows.checkpoint.position, rows.process),
            Follower(
                broker, forums_stream, f"{settings.name}_{reactions.NAME}",
                agreements.checkpoint.position, agreements.process,
            ),
        ]  # fmt: skip

    return Worker(settings, followers, start=[log.start], stop=[log.stop])
