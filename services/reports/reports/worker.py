"""The worker process of reports, put together by hand: relay, projection, reactions, retention, and the hub if any."""

from functools import partial

from rembuk.contracts import forums
from rembuk.contracts.reports import CODEC
from rembuk.federation.inbox import Inbox, InboxCheckpoint
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.handler import Handler
from rembuk.flow.projector import Projector
from rembuk.flow.reactions import Reactor
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.sealing.vault import Vault
from rembuk.settings import Settings
from rembuk.worker import Worker

from reports import projection, reactions
from reports.directory import Directory
from reports.retention import Retention


def build(settings: Settings) -> Worker:
    log = EventLog(settings.database_url, CODEC, f"{settings.name} reactions")
    start, tasks, stop = [log.start], [], [log.stop]
    if settings.hub.joined:
        keys = partial(RegionKeys.load, settings.region_key)
        tasks.append(Inbox(settings.nats_url, settings.region).run)
        tasks.append(Directory(settings.database_url, settings.nats_url, settings.region, keys, log).run)
    if (days := settings.keeping.reports_days) is not None:
        vault = Vault(
            settings.database_url, RegionKeys(()), f"{settings.name} retention"
        )  # who cannot read may still erase
        start.append(vault.start)
        tasks.append(Retention(settings.database_url, log, vault, days).run)
        stop.insert(0, vault.stop)
    return Worker(settings, handlers(settings, log), start=start, tasks=tasks, stop=stop)


def handlers(settings: Settings, log: EventLog) -> list[Handler]:
    """What is made of which stream; `log` is our own."""
    made: list[Handler] = [
        Projector(Checkpoint.of(settings, projection.NAME, "reports"), CODEC, projection.project),
        Reactor(Checkpoint.of(settings, reactions.NAME, "forums"), forums.CODEC, reactions.react, log),
    ]
    if settings.hub.joined:
        shown = InboxCheckpoint.told(settings, projection.ELSEWHERE)
        heard = InboxCheckpoint.told(settings, reactions.REFERRALS)
        react = reactions.referrals(settings.region, partial(RegionKeys.load, settings.region_key))
        made += [Projector(shown, CODEC, projection.project_elsewhere), Reactor(heard, CODEC, react, log)]
    return made
