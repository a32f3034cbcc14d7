"""Meetings: scheduled, attended, held."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from litestar import get, post
from litestar.params import FromQuery, JSONBody
from rembuk.contracts.forums import MeetingEvent
from rembuk.events.ids import derive_id
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle
from rembuk.sealing.vault import Vault
from rembuk.web import sealed
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, Recorded, action, known_area, recorded
from rembuk.web.partner_access import WELCOME, WHOLE, Within
from rembuk.web.problem_details import documented
from rembuk.web.reading import AreaFilter, AtLeast, Cursor, Limit, found, in_utc
from rembuk.web.requests import Id, Intent

from forums.api.forums import Queries, founded
from forums.commands import (
    HoldForum,
    MeetingPlan,
    RecordAttendance,
    ScheduleMeeting,
)
from forums.domain import MEETING
from forums.queries import (
    ForumQueries,
    Meeting,
    MeetingPage,
    MeetingStatus,
)


def routes(log: EventLog, vault: Vault, queries: ForumQueries, meetings: Callable[[Json], Within]) -> list[Any]:
    """`meetings` says of which areas whoever asks may read what meetings say of problems that are not public."""

    @post("/v1/meetings", summary="Schedule a meeting", responses=documented(400, 409, 413, 415, 422, 503))
    async def schedule_meeting(request: Json, data: JSONBody[MeetingPlan]) -> Answer[Recorded]:
        in_utc(data.at, "at")
        forum = await founded(log, data.forum_id, "forum_id")
        intent = Intent(request, data)
        meeting_id = derive_id("meeting", intent.key)
        candidates = await queries.candidates_among(data.agenda, forum.area)
        command = ScheduleMeeting(data.forum_id, forum.area, data.at, data.place, data.agenda, candidates)
        outcome = await handle(log, MEETING, meeting_id, command, intent.key, intent.metadata, new=True)
        return recorded(outcome, f"/v1/meetings/{meeting_id}")

    @get("/v1/meetings", summary="Meetings, the last scheduled first", description=WHOLE,
         security=WELCOME, responses=documented(400, 401, 422, 503))  # fmt: skip
    async def list_meetings(
        request: Json,
        queries: Queries,
        area: AreaFilter = None,
        forum_id: FromQuery[UUID | None] = None,
        status: FromQuery[MeetingStatus | None] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        at_least: AtLeast = None,
    ) -> Answer[MeetingPage]:
        known_area(area)
        return Answer(await queries.meetings(area, meetings(request), status, forum_id, cursor, limit, at_least))

    @get("/v1/meetings/{id:uuid}", summary="One meeting", description=WHOLE, security=WELCOME,
         responses=documented(400, 401, 404, 422, 503))  # fmt: skip
    async def read_meeting(request: Json, queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[Meeting]:
        return found(await queries.meeting(id, meetings(request), at_least), "unknown-meeting")

    one = "/v1/meetings/{id:uuid}"
    return [
        schedule_meeting,
        action(log, vault, MEETING, f"{one}/attendance", RecordAttendance),
        action(log, vault, MEETING, f"{one}/hold", HoldForum),
        sealed.opening(log, vault, one, MeetingEvent.__args__),
        sealed.erasing(log, vault, one, MeetingEvent.__args__),
        list_meetings,
        read_meeting,
    ]
