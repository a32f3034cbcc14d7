"""The API process of reports, put together by hand. Accepting needs PostgreSQL alone."""

from functools import partial

from litestar import Litestar
from rembuk.areas.lookup import areas
from rembuk.broker.stream_names import inbox_name, stream_name
from rembuk.contracts.reports import CODEC
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.partners.partners import Partners
from rembuk.postgres.database import PlainSql
from rembuk.proof.promises import promising
from rembuk.sealing.vault import Vault
from rembuk.settings import Settings
from rembuk.transparency.leaves import leaf
from rembuk.transparency.proofs import Proofs
from rembuk.web.app import build as build_app
from rembuk.web.reading import ReadModel

from reports import projection
from reports.api import routes
from reports.queries import ProblemQueries, ReferralQueries


def build(settings: Settings) -> Litestar:
    areas()  # loaded before the first request
    proofs = Proofs(settings)
    promises = promising(proofs.signer, partial(leaf, settings.region, settings.service))
    log = EventLog(settings.database_url, CODEC, settings.name, promising=promises)
    vault = Vault(settings.database_url, RegionKeys.load(settings.region_key), settings.name)
    sql = PlainSql(settings.database_url, f"{settings.name} queries")
    stream = stream_name(settings.region, settings.service)

    def queries(as_of: int | None) -> ProblemQueries:
        return ProblemQueries(ReadModel(sql, projection.NAME, stream, as_of), settings.region, vault)

    referrals = ReferralQueries(ReadModel(sql, projection.ELSEWHERE, inbox_name(settings.region)))

    return build_app(
        settings,
        log,
        proofs,
        routes(log, vault, proofs, settings.region, referrals, Partners.named(settings.partners.roster)),
        queries,
        title="Rembuk reports: problems of public security",
        start=[vault.start, sql.start],
        stop=[vault.stop, sql.stop],
    )
