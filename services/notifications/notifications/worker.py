"""The worker process of notifications, put together by hand: relay, projection, reactions, sender."""

from collections.abc import Sequence

from faststream.nats import NatsBroker
from rembuk.checkpoints import Checkpoint
from rembuk.codec import Codec
from rembuk.contracts import forums, reports
from rembuk.contracts.notifications import CODEC
from rembuk.event_log import EventLog
from rembuk.following import Follower
from rembuk.projector import Projector
from rembuk.reactions import Reactor
from rembuk.settings import Settings
from rembuk.streams import stream_name
from rembuk.vault import RegionKey, Vault
from rembuk.worker import Worker

from notifications import projection, reactions
from notifications.channels.email import EmailChannel
from notifications.channels.webhook import WebhookChannel
from notifications.delivery import Patience, Sender


def build(settings: Settings) -> Worker:
    log = EventLog(settings.database_url, CODEC, f"{settings.name} reactions")
    vault = Vault(settings.database_url, RegionKey.load(settings.region_key), f"{settings.name} sender")
    ours = stream_name(settings.region, "notifications")
    told = settings.environment.get
    here = told("REMBUK_NOTIFICATIONS_PUBLIC_URL") or f"http://{settings.host}:{settings.port}"
    webhooks = WebhookChannel(private=told("REMBUK_WEBHOOK_PRIVATE") == "allow")
    email = EmailChannel(
        told("REMBUK_SMTP_URL", ""), told("REMBUK_SMTP_FROM", f"rembuk@{settings.region}.invalid"), settings.region
    )
    sender = Sender(
        settings.database_url,
        log,
        vault,
        {"email": email, "webhook": webhooks},
        Patience.load(settings.environment),
        f"{here}/v1/subscriptions/{{id}}/stop",
    )

    def followers(broker: NatsBroker) -> Sequence[Follower]:
        rows = Projector(Checkpoint(settings.database_url, projection.NAME, ours), CODEC, projection.project)

        def alerts(service: str, codec: Codec) -> Follower:
            stream = stream_name(settings.region, service)
            checkpoint = Checkpoint(settings.database_url, reactions.NAME, stream)
            reactor = Reactor(checkpoint, codec, reactions.alerts(ours), log)
            name = f"{settings.name}_{reactions.NAME}_{service}"
            return Follower(broker, stream, name, checkpoint.position, reactor.process)

        return [
            Follower(broker, ours, f"{settings.name}_{projection.NAME}", rows.checkpoint.position, rows.process),
            alerts("reports", reports.CODEC),
            alerts("forums", forums.CODEC),
        ]

    return Worker(
        settings,
        followers,
        start=[log.start, vault.start],
        tasks=[sender.run],
        stop=[webhooks.stop, vault.stop, log.stop],
    )
