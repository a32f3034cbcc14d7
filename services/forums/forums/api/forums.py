"""Forums, their members, and what they could put on their agenda."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter, SkipValidation
from rembuk.contracts.forums import MemberJoined
from rembuk.events.decider import Refused
from rembuk.events.event import RecordedEvent as RecordedEvent
from rembuk.events.ids import derive_id, event_id
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle, state_of
from rembuk.sealing.vault import Vault
from rembuk.web import sealed
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, Recorded, known_area, recorded
from rembuk.web.partner_access import WELCOME, WHOLE, Within
from rembuk.web.problem_details import documented
from rembuk.web.reading import AreaFilter, AtLeast, Cursor, Limit, found
from rembuk.web.requests import Id, Intent
from rembuk.web.sealed import ErasedPersons, Erasing, Opening, ShownFields

from forums.commands import (
    FoundForum,
    JoinForum,
    NewMember,
)
from forums.domain import FORUM
from forums.domain.forum import Founded
from forums.queries import (
    CandidatePage,
    Forum,
    ForumPage,
    ForumQueries,
    Member,
)

Queries = NamedDependency[SkipValidation[ForumQueries]]
AtLeastReported = Annotated[
    int | None,
    QueryParameter(
        name="at_least",
        ge=0,
        le=2**62,
        description="Wait until what reports recorded up to this position of its own log is shown",
        schema_extra={"minimum": 0},
    ),
]


class Joined(msgspec.Struct, frozen=True):
    """Somebody is a member of the forum `id` now, known as `member_id`, recorded at this position."""

    id: UUID
    member_id: UUID
    version: int
    position: int


def routes(log: EventLog, vault: Vault, problems: Callable[[Json], Within]) -> list[Any]:
    """`problems` says of which areas whoever asks may read problems that are not public."""
    return [*_commands(log, vault), *_sealed(log, vault), *_reads(log, problems)]


def _commands(log: EventLog, vault: Vault) -> list[Any]:
    @post("/v1/forums", summary="Found a forum", responses=documented(400, 409, 413, 415, 422, 503))
    async def found_forum(request: Json, data: JSONBody[FoundForum]) -> Answer[Recorded]:
        known_area(data.area)
        intent = Intent(request, data)
        forum_id = derive_id("forum", intent.key)
        outcome = await handle(log, FORUM, forum_id, data, intent.key, intent.metadata, new=True)
        return recorded(outcome, f"/v1/forums/{forum_id}")

    @post(
        "/v1/forums/{id:uuid}/members",
        summary="Join a forum",
        responses=documented(400, 404, 409, 412, 413, 415, 422, 503),
    )
    async def join_forum(request: Json, id: Id, data: JSONBody[NewMember]) -> Answer[Joined]:
        intent = Intent(request, data, id)
        member_id = derive_id("member", intent.key)
        person = vault.new_key(member_id)
        name = person.seal(event_id(intent.key), data.name)
        command = JoinForum(member_id, data.pillar, data.role, data.sex, name)
        version, keys = intent.expected_version, [person.wrapped]
        outcome = await handle(
            log, FORUM, id, command, intent.key, intent.metadata, expected_version=version, keys=keys
        )
        body = Joined(id, member_id, outcome.version, outcome.position)
        return Answer(body, outcome.version, f"/v1/forums/{id}/members")

    return [found_forum, join_forum]


def _sealed(log: EventLog, vault: Vault) -> list[Any]:
    member = "/v1/forums/{id:uuid}/members/{member_id:uuid}"

    async def joined(forum_id: UUID, member_id: UUID) -> list[RecordedEvent[Any]]:
        """The event by which somebody became a member."""
        history = await log.read_stream(forum_id)
        found = [one for one in history if isinstance(one.event, MemberJoined) and one.event.member_id == member_id]
        if not found:
            raise Refused("unknown-member")
        return found

    @post(f"{member}/open", status_code=200, summary="Be shown a member's name", responses=sealed.ERRORS)
    async def open_member(request: Json, id: Id, member_id: Id, data: JSONBody[Opening]) -> Response[ShownFields]:
        return await sealed.show(log, vault, request, await joined(id, member_id), data, {})

    @post(f"{member}/erase", status_code=200, summary="Erase a member's name", responses=sealed.ERRORS)
    async def erase_member(request: Json, id: Id, member_id: Id, data: JSONBody[Erasing]) -> ErasedPersons:
        return await sealed.forget(log, vault, request, await joined(id, member_id), data)

    return [open_member, erase_member]


def _reads(log: EventLog, problems: Callable[[Json], Within]) -> list[Any]:
    @get("/v1/forums", summary="Forums, newest first", responses=documented(400, 422, 503))
    async def list_forums(
        queries: Queries, area: AreaFilter = None, cursor: Cursor = None, limit: Limit = 50, at_least: AtLeast = None
    ) -> Answer[ForumPage]:
        known_area(area)
        return Answer(await queries.forums(area, cursor, limit, at_least))

    @get("/v1/forums/{id:uuid}", summary="One forum", responses=documented(400, 404, 422, 503))
    async def read_forum(queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[Forum]:
        return found(await queries.forum(id, at_least), "unknown-forum")

    @get("/v1/forums/{id:uuid}/members", summary="Its members", responses=documented(400, 404, 422, 503))
    async def list_members(queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[list[Member]]:
        await founded(log, id)
        return Answer(await queries.members(id, at_least))

    @get(
        "/v1/forums/{id:uuid}/agenda-candidates",
        summary="Verified, open problems for its agenda, newest first",
        description=WHOLE,
        security=WELCOME,
        responses=documented(400, 401, 404, 422, 503),
    )
    async def list_candidates(
        request: Json, queries: Queries, id: Id, cursor: Cursor = None, limit: Limit = 50,
        at_least: AtLeastReported = None,
    ) -> Answer[CandidatePage]:  # fmt: skip
        within = problems(request)
        forum = await founded(log, id)
        return Answer(await queries.candidates(forum.area, within, cursor, limit, at_least))

    return [list_forums, read_forum, list_members, list_candidates]


async def founded(log: EventLog, forum_id: UUID, field: str = "") -> Founded:
    """The forum as its stream has it; refused, for the input `field` if one names it, where there is none."""
    forum = await state_of(log, FORUM, forum_id)
    if not isinstance(forum, Founded):
        raise Refused("unknown-forum", f"there is no forum {forum_id}", field=field)
    return forum
