"""The worker process of notifications, put together by hand: relay, projection, reactions, sender, expiry."""

from rembuk.broker.stream_names import stream_name
from rembuk.contracts import forums, reports
from rembuk.contracts.notifications import CODEC
from rembuk.events.codec import Codec
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.handler import Handler
from rembuk.flow.projector import Projector
from rembuk.flow.reactions import Reactor
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.sealing.vault import Vault
from rembuk.settings import Settings
from rembuk.worker import Worker

from notifications import projection, reactions
from notifications.channels.email import EmailChannel
from notifications.channels.webhook import WebhookChannel
from notifications.delivery.composing import stop_link
from notifications.delivery.expiry import Expiry
from notifications.delivery.patience import Patience
from notifications.delivery.sender import Sender


def build(settings: Settings) -> Worker:
    log = EventLog(settings.database_url, CODEC, f"{settings.name} reactions")
    vault = Vault(settings.database_url, RegionKeys.load(settings.region_key), f"{settings.name} sender")
    webhooks = WebhookChannel(private=settings.partners.private_webhooks)
    patience = Patience.of(settings.delivery)
    email = EmailChannel(
        settings.mail.smtp_url,
        settings.mail.smtp_from or f"rembuk@{settings.region}.invalid",
        settings.region,
        patience.come_again_s,
    )
    sender = Sender(
        settings.database_url,
        log,
        vault,
        {"email": email, "webhook": webhooks},
        patience,
        stop_link(settings),
    )

    expiry = Expiry(settings.database_url, log, vault, settings.keeping.unconfirmed_days)

    return Worker(
        settings,
        handlers(settings, log),
        start=[log.start, vault.start],
        tasks=[sender.run, expiry.run],
        stop=[webhooks.stop, vault.stop, log.stop],
    )


def handlers(settings: Settings, log: EventLog) -> list[Handler]:
    """What is made of which stream; `log` is our own."""
    ours = stream_name(settings.region, "notifications")

    def alerts(service: str, codec: Codec) -> Reactor:
        return Reactor(Checkpoint.of(settings, reactions.NAME, service), codec, reactions.alerts(ours), log)

    return [
        Projector(Checkpoint.of(settings, projection.NAME, "notifications"), CODEC, projection.project),
        alerts("reports", reports.CODEC),
        alerts("forums", forums.CODEC),
    ]
