"""The worker process of reports, put together by hand: relay, projection, reactions, retention."""

from rembuk.checkpoints import Checkpoint
from rembuk.contracts import forums
from rembuk.contracts.reports import CODEC
from rembuk.event_log import EventLog
from rembuk.projector import Projector
from rembuk.reactions import Reactor
from rembuk.region_key import RegionKeys
from rembuk.settings import Settings
from rembuk.vault import Vault
from rembuk.worker import Handler, Worker

from reports import projection, reactions
from reports.retention import Retention, retention_days


def build(settings: Settings) -> Worker:
    log = EventLog(settings.database_url, CODEC, f"{settings.name} reactions")
    days = retention_days(settings.environment)
    if days is None:
        return Worker(settings, handlers(settings, log), start=[log.start], stop=[log.stop])
    vault = Vault(
        settings.database_url, RegionKeys(()), f"{settings.name} retention"
    )  # who cannot read may still erase
    return Worker(
        settings,
        handlers(settings, log),
        start=[log.start, vault.start],
        tasks=[Retention(settings.database_url, log, vault, days).run],
        stop=[vault.stop, log.stop],
    )


def handlers(settings: Settings, log: EventLog) -> list[Handler]:
    """What is made of which stream; `log` is our own."""
    return [
        Projector(Checkpoint.of(settings, projection.NAME, "reports"), CODEC, projection.project),
        Reactor(Checkpoint.of(settings, reactions.NAME, "forums"), forums.CODEC, reactions.react, log),
    ]
