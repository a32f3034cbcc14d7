"""The HTTP application every service builds on: limits, problem details, health, metrics, OpenAPI, events feed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from litestar import Litestar, MediaType, Response, get
from litestar.enums import ScopeType
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST

from rembuk import tracing
from rembuk.log.event_log import EventLog
from rembuk.partners.partners import Partners
from rembuk.process import logs
from rembuk.settings import Settings
from rembuk.transparency.proofs import Proofs
from rembuk.web import problem_details
from rembuk.web.direct import Direct
from rembuk.web.event_schemas import asyncapi, event_schema, schema_bundle, schema_index
from rembuk.web.event_stream import Streams, event_stream
from rembuk.web.events_feed import events_feed
from rembuk.web.index import index
from rembuk.web.log_proofs import log_proofs
from rembuk.web.metrics import Gauge, Metrics, Outcomes
from rembuk.web.openapi import Document
from rembuk.web.parameters import require_plain_query
from rembuk.web.partner_access import COMPONENTS, partners_only
from rembuk.web.reading import queried
from rembuk.web.requests import StrictRequest, correlation_id, declares_json
from rembuk.web.witnessing import witnessing
from rembuk.witness.witness import Witness

Hook = Callable[[], Awaitable[None]]

_NOT_JSON = (
    b'{"type":"/problems/json-expected","title":"Json expected","status":415,'
    b'"errors":[{"field":"Content-Type","rule":"must be application/json"}]}'
)


def answered_unread(app: ASGIApp) -> ASGIApp:
    """Answer what needs no reading: refuse a POST whose body is not declared as JSON (a route handler with the opt
    `any_body` takes what comes) and a query that can be read in two ways; tell OPTIONS what a path allows, where
    Litestar forgets methods."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            logs.begin_journey(correlation_id(scope["headers"]))
            if scope["path_params"]:
                _require_one_spelling(scope)
            if scope["method"] == "POST":
                if "any_body" not in scope["route_handler"].opt and not declares_json(scope["headers"]):
                    await _refuse(send)
                    return
            elif scope["method"] == "GET":
                if scope["query_string"]:
                    require_plain_query(scope)
            elif scope["method"] == "OPTIONS":
                await _allow(scope, send)
                return
        await app(scope, receive, send)

    return middleware


def _require_one_spelling(scope: Scope) -> None:
    """An id is read in many spellings (capitals, braces, without hyphens), and leads somewhere in its own alone.
    Raises NotFoundException."""
    path = scope["path"] + "/"
    if not all(f"/{value}/" in path for value in scope["path_params"].values()):
        raise NotFoundException


async def _refuse(send: Send) -> None:
    await send({
        "type": "http.response.start", "status": 415,
        "headers": [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(_NOT_JSON))],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": _NOT_JSON, "more_body": False})


async def _allow(scope: Scope, send: Send) -> None:
    path = scope["path_template"]
    methods = [route.methods for route in scope["litestar_app"].routes if route.path_format == path]
    allowed = ", ".join(sorted({str(method) for one in methods for method in one}))
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allowed.encode())]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def build(
    settings: Settings,
    log: EventLog,
    proofs: Proofs,
    routes: Sequence[Any],
    queries: Callable[[int | None], Any],
    *,
    title: str,
    start: Sequence[Hook] = (),
    stop: Sequence[Hook] = (),
    gauges: Sequence[Gauge] = (),
    outcomes: Sequence[Outcomes] = (),
) -> Litestar:
    """The application of one service; the log is started first and stopped last. `queries` makes what its reads get
    under that name: of the live read model, or of the one as of a position; `gauges` and `outcomes` are for Prometheus.
    It is a witness as well, where the settings name logs to be witnessed. Raises BadRoster."""
    partners = Partners.named(settings.partners.roster)
    guard, streams = partners_only(partners, settings.service), Streams(settings, log, partners)
    told = Metrics(settings, log.codec, gauges, outcomes)
    witness = Witness.told(settings)

    @get("/health/live", include_in_schema=False, media_type=MediaType.TEXT, sync_to_thread=False)
    def live() -> str:
        return "live"

    @get("/health/ready", include_in_schema=False, media_type=MediaType.TEXT)
    async def ready() -> str:
        """503 while PostgreSQL does not answer: a report can be accepted if and only if this says ready."""
        await log.head()
        return "ready"

    @get("/metrics", include_in_schema=False)
    async def metrics() -> Response[bytes]:
        return Response(await told.exposition(), media_type=CONTENT_TYPE_LATEST)

    app = Litestar(
        [
            *routes,
            index(settings.service, settings.region, title),
            events_feed(log, settings.region, settings.service, guard),
            event_stream(streams, guard),
            event_schema,
            schema_bundle,
            schema_index,
            asyncapi,
            *log_proofs(proofs, settings.region, guard),
            *(witnessing(witness) if witness else ()),
            live,
            ready,
            metrics,
        ],
        dependencies={"queries": queried(queries)},
        exception_handlers=problem_details.HANDLERS,
        request_class=StrictRequest,
        on_startup=[log.start, streams.start, told.start, proofs.start, *([witness.start] if witness else ()), *start],
        on_shutdown=[*stop, *([witness.stop] if witness else ()), proofs.stop, told.stop, streams.stop, log.stop],
        openapi_config=OpenAPIConfig(
            title=title,
            version="1.0.0",
            path="/schema",
            components=COMPONENTS,
            render_plugins=[Document(path=["/", "/openapi.json"])],
        ),
        middleware=[answered_unread, *tracing.middlewares()],
        logging_config=None,
    )
    if not tracing.on:
        app.asgi_handler = Direct(app)
    return app
