"""Alerts: raised, listed, and what became of their deliveries."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter, SkipValidation
from rembuk.events.decider import Refused
from rembuk.events.ids import derive_id
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, known_area, known_category
from rembuk.web.problem_details import documented
from rembuk.web.reading import AreaFilter, AtLeast, CategoryFilter, Cursor, Limit, found
from rembuk.web.requests import Id, Intent

from notifications.commands import (
    Notice,
    RaiseAlert,
)
from notifications.domain import ALERT
from notifications.queries import (
    Alert,
    AlertPage,
    DeliveryPage,
    DeliveryState,
    NotificationQueries,
)

Queries = NamedDependency[SkipValidation[NotificationQueries]]


class Raised(msgspec.Struct, frozen=True):
    """The alert is recorded at this position, for so many subscriptions as it then was known to have."""

    id: UUID
    position: int


def routes(log: EventLog, queries: NotificationQueries) -> list[Any]:
    @post("/v1/alerts", summary="Raise an alert", responses=documented(400, 413, 415, 422, 503))
    async def raise_alert(request: Json, data: JSONBody[Notice]) -> Answer[Raised]:
        known_area(data.area)
        intent = Intent(request, data)
        alert_id = derive_id("alert", intent.key)
        category = data.category or ""
        command = RaiseAlert(
            data.area,
            data.headline,
            data.text,
            await queries.recipients(data.area, category),
            data.severity,
            data.urgency,
            data.certainty,
            category,
            data.about,
        )
        outcome = await handle(log, ALERT, alert_id, command, intent.key, intent.metadata, new=True)
        return Answer(Raised(alert_id, outcome.position), outcome.version, f"/v1/alerts/{alert_id}")

    @get("/v1/alerts", summary="Alerts, newest first", responses=documented(400, 422, 503))
    async def list_alerts(
        queries: Queries,
        area: AreaFilter = None,
        category: CategoryFilter = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        at_least: AtLeast = None,
    ) -> Answer[AlertPage]:
        known_area(area)
        known_category(category)
        return Answer(await queries.alerts(area=area, category=category, cursor=cursor, limit=limit, at_least=at_least))

    @get("/v1/alerts/{id:uuid}", summary="One alert", responses=documented(400, 404, 422, 503))
    async def read_alert(queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[Alert]:
        return found(await queries.alert(id, at_least), "unknown-alert")

    @get("/v1/alerts/{id:uuid}/deliveries", summary="What became of it", responses=documented(400, 404, 422, 503))
    async def list_deliveries(
        queries: Queries,
        id: Id,
        in_state: Annotated[DeliveryState | None, QueryParameter(name="state")] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        at_least: AtLeast = None,
    ) -> Answer[DeliveryPage]:
        page = await queries.deliveries(id, state=in_state, cursor=cursor, limit=limit, at_least=at_least)
        if page is None:
            raise Refused("unknown-alert")
        return Answer(page)

    return [raise_alert, list_alerts, read_alert, list_deliveries]
