"""The log for partners by HTTP: CloudEvents in JSON batch format, from any position on, as its stream has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.datastructures import ResponseHeader
from litestar.params import Parameter
from litestar.types import Guard

from rembuk.broker.cloud_events import CloudEvent, published
from rembuk.events.decider import Refused
from rembuk.log.event_log import EventLog
from rembuk.partners import scoped
from rembuk.partners.partners import Partner
from rembuk.web.partner_access import REQUIRED
from rembuk.web.problem_details import documented

MEDIA_TYPE = "application/cloudevents-batch+json"
POSITION = "Rembuk-Position"

After = Annotated[int, Parameter(ge=0, le=2**62, description="Last position you have", schema_extra={"minimum": 0})]


@contextmanager
def none_beyond(field: str) -> Iterator[None]:
    """Refuses, for `field`, a position that the log has not reached."""
    try:
        yield
    except scoped.BeyondTheHead as error:
        raise Refused("beyond-the-head", str(error), field=field) from error


def events_feed(log: EventLog, region: str, service: str, guard: Guard) -> Any:
    """The route handler of `GET /v1/events`."""

    @get(
        "/v1/events",
        guards=[guard],
        security=REQUIRED,
        summary="Events after a position",
        description="Those in the partner's scope, in order. There may be none on a page, though more follow: "
        f"go on where `{POSITION}` or the link `next` says, and wait once that is where you were.",
        media_type=MEDIA_TYPE,
        response_headers=[
            ResponseHeader(name=POSITION, description="You have everything up to here", documentation_only=True),
            ResponseHeader(name="Link", description='rel="next": what comes after', documentation_only=True),
        ],
        responses=documented(400, 401, 403, 422, 503),
        tags=["events"],
    )
    async def read_events(
        request: Request[Partner, Any, Any],
        after: After = 0,
        limit: Annotated[
            int, Parameter(ge=1, le=500, description="At most so many; fewer where they are large or few are seen")
        ] = 100,
    ) -> Response[list[CloudEvent]]:
        async with log.reader() as reader:
            with none_beyond("after"):
                page = await scoped.page(reader, request.user.scope, after, limit)
        headers = {
            POSITION: str(page.position),
            "Link": f'</v1/events?after={page.position}&limit={limit}>; rel="next"',
            "Cache-Control": "no-store",
        }
        events = [published(region, service, row) for row in page.rows]
        return Response(events, media_type=MEDIA_TYPE, headers=headers)

    return read_events
