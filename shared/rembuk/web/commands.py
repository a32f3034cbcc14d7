"""Commands by HTTP: a request's body is the wish, the answer says where it was recorded."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.params import BodyKwarg

from rembuk.areas.former import unknown_area
from rembuk.areas.lookup import areas
from rembuk.contracts.categories import CATEGORIES
from rembuk.events.decider import Decider, Refused
from rembuk.events.ids import event_id
from rembuk.log.event_log import EventLog
from rembuk.log.handling import Outcome, handle
from rembuk.sealing.sealing import seal_texts
from rembuk.sealing.vault import Vault
from rembuk.web.answers import Answer
from rembuk.web.problem_details import documented
from rembuk.web.requests import Id, Intent

Json = Request[Any, Any, Any]


class Recorded(msgspec.Struct, frozen=True):
    """What was asked is recorded: the aggregate is at this version now, its last event at this position."""

    id: UUID
    version: int
    position: int


def recorded(outcome: Outcome, location: str = "") -> Answer[Recorded]:
    """The answer to a command, its version as ETag; `location` is the path of what was made."""
    return Answer(Recorded(outcome.stream_id, outcome.version, outcome.position), outcome.version, location)


def action(
    log: EventLog, vault: Vault, decider: Decider[Any, Any, Any], path: str, command: type[msgspec.Struct]
) -> Any:
    """The route handler of `POST <path>`, with `{id:uuid}` in it: the body is the command for that stream, whose sealed
    texts stand in the one event that it leads to."""

    async def act(request: Json, id: Id, data: Any) -> Answer[Recorded]:
        intent = Intent(request, data, id)
        version = intent.expected_version
        sealed, keys = seal_texts(vault, data, event_id(intent.key))
        return recorded(
            await handle(log, decider, id, sealed, intent.key, intent.metadata, expected_version=version, keys=keys)
        )

    act.__annotations__["data"] = Annotated[command, BodyKwarg()]
    return post(
        path,
        status_code=200,
        operation_id=command.__name__,
        summary=path.rpartition("/")[2].replace("-", " ").capitalize(),
        responses=documented(400, 404, 409, 412, 413, 415, 422, 503),
    )(act)


def known_category(code: str | None) -> None:
    """Refuses the code of a category that there is not; None is let through."""
    if code is not None and code not in CATEGORIES:
        raise Refused("unknown-category", f"there is no category {code}", field="category")


def known_area(code: str | None, field: str = "area") -> None:
    """Refuses the code of an area that there is not; None is let through."""
    if code is not None and code not in areas():
        raise Refused("unknown-area", unknown_area(code), field=field)
