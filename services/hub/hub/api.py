"""The HTTP face of the hub: how the regions stand, and what they come to together."""

from typing import Annotated, Any

from litestar import get
from litestar.params import FromQuery, QueryParameter
from rembuk.contracts.status import Status
from rembuk.events.wording import REGION_NAME
from rembuk.web.answers import Answer
from rembuk.web.commands import known_area, known_category
from rembuk.web.problem_details import documented
from rembuk.web.reading import AreaFilter, CategoryFilter, Cursor, Limit, Since, moment

from hub.counting import ProblemsBy
from hub.deliberating import MeetingsBy
from hub.queries import (
    Count,
    Deliberated,
    EventsBy,
    Happened,
    HubQueries,
    ProblemPage,
    Region,
)

RegionFilter = Annotated[str | None, QueryParameter(name="region", pattern=REGION_NAME)]


def routes(queries: HubQueries) -> list[Any]:
    """Every route of the service but those that all services share."""

    @get("/v1/regions", summary="How far the hub knows each region", responses=documented(400, 503))
    async def list_regions() -> Answer[list[Region]]:
        return Answer(await queries.regions())

    @get("/v1/counts", summary="Problems, counted", responses=documented(400, 422, 503))
    async def count_problems(
        by: FromQuery[ProblemsBy],
        region: RegionFilter = None,
        area: AreaFilter = None,
        category: CategoryFilter = None,
        status: FromQuery[Status | None] = None,
        since: Since = None,
    ) -> Answer[list[Count]]:
        known_area(area)
        known_category(category)
        moment_since = moment(since, "since")
        return Answer(await queries.problems_by(by, area, moment_since, status, region=region, category=category))

    @get("/v1/deliberations", summary="Meetings of forums, counted", responses=documented(400, 422, 503))
    async def count_meetings(
        by: FromQuery[MeetingsBy], region: RegionFilter = None, area: AreaFilter = None, since: Since = None
    ) -> Answer[list[Deliberated]]:
        known_area(area)
        return Answer(await queries.meetings_by(by, area, moment(since, "since"), region=region))

    @get("/v1/activity", summary="Events, counted", responses=documented(400, 422, 503))
    async def count_events(by: FromQuery[EventsBy], region: RegionFilter = None) -> Answer[list[Happened]]:
        return Answer(await queries.events_by(by, region=region))

    @get("/v1/problems", summary="Problems of all regions, newest first", responses=documented(400, 422, 503))
    async def list_problems(
        region: RegionFilter = None,
        area: AreaFilter = None,
        category: CategoryFilter = None,
        status: FromQuery[Status | None] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> Answer[ProblemPage]:
        known_area(area)
        known_category(category)
        return Answer(await queries.problems(area, status, region, category, cursor, limit))

    return [list_regions, count_problems, count_meetings, count_events, list_problems]
