"""The API process of notifications, put together by hand. Accepting needs PostgreSQL alone."""

from litestar import Litestar
from rembuk.areas.lookup import areas
from rembuk.broker.stream_names import stream_name
from rembuk.contracts.notifications import CODEC
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.postgres.database import PlainSql
from rembuk.sealing.vault import Vault
from rembuk.settings import Settings
from rembuk.transparency.proofs import Proofs
from rembuk.web.app import build as build_app
from rembuk.web.reading import ReadModel

from notifications import projection
from notifications.api import routes
from notifications.delivery.patience import Patience
from notifications.queries import GAUGES, OUTCOMES, NotificationQueries


def build(settings: Settings) -> Litestar:
    areas()  # loaded before the first request
    log = EventLog(settings.database_url, CODEC, settings.name)
    vault = Vault(settings.database_url, RegionKeys.load(settings.region_key), settings.name)
    sql = PlainSql(settings.database_url, f"{settings.name} queries")
    stream = stream_name(settings.region, settings.service)

    def queries(as_of: int | None) -> NotificationQueries:
        return NotificationQueries(ReadModel(sql, projection.NAME, stream, as_of))

    return build_app(
        settings,
        log,
        Proofs(settings),
        routes(log, vault, queries(None), Patience.of(settings.delivery).code_pause),
        queries,
        title="Rembuk notifications: who is told what, and proof that they were",
        start=[vault.start, sql.start],
        stop=[vault.stop, sql.stop],
        gauges=GAUGES,
        outcomes=OUTCOMES,
    )
