"""Problems as they are shown: a page of them, one, and its history."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, Parameter, SkipValidation
from msgspec.structs import replace
from rembuk.broker.cloud_events import CloudEvent, published
from rembuk.contracts.disclosure import may_see, shown_area
from rembuk.contracts.reports import CODEC, ProblemReported, ReferralOffered
from rembuk.contracts.status import Status
from rembuk.events.decider import Refused
from rembuk.events.event import Event
from rembuk.events.rows import recorded as read_row
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, known_area, known_category
from rembuk.web.partner_access import WELCOME, WHOLE, Within
from rembuk.web.problem_details import documented
from rembuk.web.reading import AreaFilter, AtLeast, CategoryFilter, Cursor, Limit, Since, found, moment
from rembuk.web.requests import Id

from reports.briefs import History
from reports.queries import Problem, ProblemPage, ProblemQueries, ReferralQueries

Reference = Annotated[str | None, Parameter(max_length=60, description="What its reporter wrote down: JATIM-000123")]
Queries = NamedDependency[SkipValidation[ProblemQueries]]
_FOUND = "By a category, or an area below a regency, only public problems are found."


def routes(region: str, referrals: ReferralQueries, within: Callable[[Json], Within]) -> list[Any]:
    @get("/v1/problems", summary="Problems, newest first", description=f"{_FOUND} {WHOLE}", security=WELCOME,
         responses=documented(400, 401, 422, 503))  # fmt: skip
    async def list_problems(
        request: Json,
        queries: Queries,
        area: AreaFilter = None,
        category: CategoryFilter = None,
        status: FromQuery[Status | None] = None,
        since: Since = None,
        reference: Reference = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        at_least: AtLeast = None,
    ) -> Answer[ProblemPage]:
        known_area(area)
        known_category(category)
        page = await queries.page(
            within(request),
            area=area,
            category=category,
            status=status,
            since=moment(since, "since"),
            named=reference,
            cursor=cursor,
            limit=limit,
            at_least=at_least,
        )
        return Answer(page)

    @get("/v1/problems/{id:uuid}", summary="One problem", description=WHOLE, security=WELCOME,
         responses=documented(400, 401, 404, 422, 503))  # fmt: skip
    async def read_problem(request: Json, queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[Problem]:
        return found(await queries.one(id, within(request), at_least), "unknown-problem")

    @get(
        "/v1/problems/{id:uuid}/history",
        summary="Its events, those in other regions included",
        description=f"Of a problem that is not public `data` is null, and `area` its regency. {WHOLE}",
        security=WELCOME,
        responses=documented(400, 401, 404, 503),
    )
    async def read_history(request: Json, id: Id) -> Answer[list[CloudEvent]]:
        return Answer(shown_history(region, await whole_history(referrals, region, id), within(request)))

    return [list_problems, read_problem, read_history]


async def whole_history(referrals: ReferralQueries, region: str, problem_id: UUID) -> History:
    """The events of a problem here and elsewhere, by time. Raises Refused for what is none of ours."""
    history = await referrals.history(problem_id, region)
    if not history:
        raise Refused("unknown-problem")
    return history


def shown_history(region: str, history: History, within: Within) -> list[CloudEvent]:
    """The events of a problem: as they are published where it is public, or whoever asks reads of it; of any other what
    happened and when. A problem is public where every event of ours that tells what it is says so."""
    events = [published(where, "reports", row) for where, row in history]
    telling = [row for where, row in history if where == region and row["type"] in _TELLING]
    if all(within(row["area"]) or _is_public(read_row(CODEC, row, leniently=True).event) for row in telling):
        return events
    nothing = dict.fromkeys(("correlationid", "causationid", "actor", "traceparent"), "")
    return [replace(one, area=shown_area(one.area), data=msgspec.Raw(b"null"), **nothing) for one in events]


def _is_public(event: Event) -> bool:
    match event:
        case ProblemReported() | ReferralOffered():
            return may_see("public", event.category, event.disclosure)
        case _:
            return False  # an event that this release cannot read


_TELLING = {ProblemReported.__name__, ReferralOffered.__name__}
