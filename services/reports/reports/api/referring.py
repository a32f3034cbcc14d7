"""Offering a problem to another region, and the regions there are."""

from typing import Any
from uuid import UUID

from litestar import get, post
from litestar.params import JSONBody
from rembuk.events.decider import Refused
from rembuk.events.ids import event_id
from rembuk.keys.referral_key import BadPublicKey
from rembuk.keys.region_key import WrappedKey
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle
from rembuk.sealing.sealing import texts_of
from rembuk.sealing.vault import Vault
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, Recorded, recorded
from rembuk.web.problem_details import documented
from rembuk.web.requests import Id, Intent

from reports.api.problems import whole_history
from reports.briefs import History, reported_at, sealed_brief
from reports.commands import (
    ReferProblem,
    Referral,
)
from reports.domain import PROBLEM
from reports.queries import OtherRegion, ReferralQueries


def routes(log: EventLog, vault: Vault, region: str, referrals: ReferralQueries) -> list[Any]:
    @post(
        "/v1/problems/{id:uuid}/refer",
        status_code=200,
        operation_id="ReferProblem",
        summary="Offer it to another region",
        responses=documented(400, 404, 409, 412, 413, 415, 422, 503),
    )
    async def refer_problem(request: Json, id: Id, data: JSONBody[Referral]) -> Answer[Recorded]:
        intent = Intent(request, data, id)
        history = await whole_history(referrals, region, id)
        command, keys = await sealed_referral(vault, referrals, region, history, data, event_id(intent.key))
        version = intent.expected_version
        return recorded(
            await handle(log, PROBLEM, id, command, intent.key, intent.metadata, expected_version=version, keys=keys)
        )

    @get("/v1/regions", summary="To whom a problem can be referred", responses=documented(400, 503))
    async def list_regions() -> Answer[list[OtherRegion]]:
        return Answer(await referrals.regions())

    return [refer_problem, list_regions]


async def sealed_referral(
    vault: Vault, referrals: ReferralQueries, region: str, history: History, wish: Referral, recorded_as: UUID
) -> tuple[ReferProblem, list[WrappedKey]]:
    """The referral to be recorded in the event of that id: the brief sealed for its receiver, the note under a key of
    our own as well. Raises Refused where there is no such region, or none that it can be sealed for."""
    brief, note, keys = "", "", []
    if wish.to != region:  # which the domain refuses
        public_key = await referrals.public_key(wish.to)
        if public_key is None:
            raise Refused("unknown-region", f"the hub has told of no region {wish.to}", field="to")
        try:
            brief = await sealed_brief(vault, public_key, recorded_as, region, history, wish.note)
        except BadPublicKey as error:
            why = f"the key that {wish.to} has introduced itself by is none: nothing can be sealed for it"
            raise Refused("unknown-region", why, field="to") from error
    if wish.note:
        texts = vault.new_key(texts_of(recorded_as))
        note, keys = texts.seal(recorded_as, wish.note), [texts.wrapped]
    return ReferProblem(region, wish.to, reported_at(region, history), brief, note), keys
