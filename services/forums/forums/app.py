"""The API process of forums, put together by hand. Accepting needs PostgreSQL alone."""

from litestar import Litestar
from rembuk.areas.lookup import areas
from rembuk.broker.stream_names import stream_name
from rembuk.contracts.forums import CODEC
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.partners.partners import Partners
from rembuk.postgres.database import PlainSql
from rembuk.sealing.vault import Vault
from rembuk.settings import Settings
from rembuk.transparency.proofs import Proofs
from rembuk.web.app import build as build_app
from rembuk.web.reading import ReadModel

from forums import projection
from forums.api import routes
from forums.queries import ForumQueries


def build(settings: Settings) -> Litestar:
    areas()  # loaded before the first request
    log = EventLog(settings.database_url, CODEC, settings.name)
    vault = Vault(settings.database_url, RegionKeys.load(settings.region_key), settings.name)
    sql = PlainSql(settings.database_url, f"{settings.name} queries")

    def queries(as_of: int | None) -> ForumQueries:
        def read_model(follower: str, service: str) -> ReadModel:
            return ReadModel(sql, follower, stream_name(settings.region, service), as_of)

        return ForumQueries(
            read_model(projection.NAME, settings.service), read_model(projection.OPEN_PROBLEMS, "reports")
        )

    return build_app(
        settings,
        log,
        Proofs(settings),
        routes(log, vault, queries(None), Partners.named(settings.partners.roster)),
        queries,
        title="Rembuk forums: police and community deliberate",
        start=[vault.start, sql.start],
        stop=[vault.stop, sql.stop],
    )
