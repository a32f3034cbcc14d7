"""The log for other systems by HTTP: CloudEvents in JSON batch format, from any position on, as its stream has them."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get
from litestar.params import Parameter

from rembuk.cloud_events import CloudEvent, published
from rembuk.event_log import EventLog
from rembuk.web.problem_details import documented

MEDIA_TYPE = "application/cloudevents-batch+json"


def events_feed(log: EventLog, region: str, service: str) -> Any:
    """The route handler of `GET /v1/events`."""

    @get(
        "/v1/events",
        summary="Events after a position",
        media_type=MEDIA_TYPE,
        responses=documented(400, 503),
        tags=["events"],
    )
    async def read_events(
        after: Annotated[
            int, Parameter(ge=0, le=2**62, description="Last position you have", schema_extra={"minimum": 0})
        ] = 0,
        limit: Annotated[
            int, Parameter(ge=1, le=500, description="At most so many; fewer where they are large, none at the end")
        ] = 100,
    ) -> Response[list[CloudEvent]]:
        events = [published(region, service, row) for row in await log.rows(after, limit)]
        return Response(events, media_type=MEDIA_TYPE)

    return read_events
