"""Commitments that were made at a meeting: kept or missed."""

from typing import Any
from uuid import UUID

from litestar import get
from litestar.params import FromQuery
from rembuk.contracts.forums import CommitmentEvent
from rembuk.log.event_log import EventLog
from rembuk.sealing.vault import Vault
from rembuk.web import sealed
from rembuk.web.answers import Answer
from rembuk.web.commands import action, known_area
from rembuk.web.problem_details import documented
from rembuk.web.reading import AreaFilter, AtLeast, Cursor, Limit, found
from rembuk.web.requests import Id

from forums.api.forums import Queries
from forums.commands import (
    KeepCommitment,
    MissCommitment,
)
from forums.domain import COMMITMENT
from forums.queries import (
    Commitment,
    CommitmentPage,
    CommitmentStatus,
)


def routes(log: EventLog, vault: Vault) -> list[Any]:
    @get("/v1/commitments", summary="Commitments, newest first", responses=documented(400, 422, 503))
    async def list_commitments(
        queries: Queries,
        area: AreaFilter = None,
        forum_id: FromQuery[UUID | None] = None,
        meeting_id: FromQuery[UUID | None] = None,
        status: FromQuery[CommitmentStatus | None] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        at_least: AtLeast = None,
    ) -> Answer[CommitmentPage]:
        known_area(area)
        return Answer(await queries.commitments(area, status, forum_id, meeting_id, cursor, limit, at_least))

    @get("/v1/commitments/{id:uuid}", summary="One commitment", responses=documented(400, 404, 422, 503))
    async def read_commitment(queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[Commitment]:
        return found(await queries.commitment(id, at_least), "unknown-commitment")

    one = "/v1/commitments/{id:uuid}"
    return [
        action(log, vault, COMMITMENT, f"{one}/keep", KeepCommitment),
        action(log, vault, COMMITMENT, f"{one}/miss", MissCommitment),
        sealed.opening(log, vault, one, CommitmentEvent.__args__),
        sealed.erasing(log, vault, one, CommitmentEvent.__args__),
        list_commitments,
        read_commitment,
    ]
