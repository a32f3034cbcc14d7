"""The API process of the hub, put together by hand: it reads what the worker wrote, and is a witness of logs."""

from functools import partial

import msgspec
from litestar import Litestar
from rembuk.areas.lookup import areas
from rembuk.contracts.hub import CODEC
from rembuk.log.event_log import EventLog
from rembuk.postgres import read_engine
from rembuk.postgres.database import PlainSql
from rembuk.settings import Settings
from rembuk.transparency.proofs import Proofs
from rembuk.web.app import build as build_app

from hub.api import routes
from hub.queries import GAUGES, HubQueries


def build(settings: Settings) -> Litestar:
    areas()  # loaded before the first request
    settings = msgspec.structs.replace(settings, nats_url="")  # there each region has an account, and we have none
    engine = read_engine.engine(settings.database_url, f"{settings.name} queries")
    plain = PlainSql(settings.database_url, f"{settings.name} queries")
    queries = HubQueries(engine, plain)
    return build_app(
        settings,
        EventLog(settings.database_url, CODEC, settings.name),
        Proofs(settings),
        routes(queries),
        lambda _: queries,
        title="Rembuk hub: all regions together",
        start=[plain.start],
        stop=[plain.stop, partial(read_engine.close_engine, engine)],
        gauges=GAUGES,
    )
