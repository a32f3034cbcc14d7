"""Reporting a problem, and what is done about it at home; its sealed data are opened and erased here."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import post
from litestar.params import JSONBody
from rembuk.contracts.reports import ProblemEvent
from rembuk.events.ids import derive_id, event_id
from rembuk.events.reference import reference_of
from rembuk.keys.region_key import WrappedKey
from rembuk.log.event_log import EventLog
from rembuk.log.handling import KeyReused, Outcome, handle
from rembuk.sealing.sealing import texts_of
from rembuk.sealing.vault import Vault
from rembuk.web import sealed
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, action, known_area
from rembuk.web.problem_details import documented
from rembuk.web.requests import Intent

from reports.commands import (
    AcceptReferral,
    AnalyseProblem,
    ApplySolution,
    AssessSolution,
    CloseProblem,
    DeclineReferral,
    PrioritiseProblem,
    ProblemReport,
    ProposeSolution,
    RejectProblem,
    ReopenProblem,
    ReportProblem,
    VerifyProblem,
    WithdrawReferral,
)
from reports.domain import PROBLEM

ACTIONS: dict[str, type[msgspec.Struct]] = {
    "verify": VerifyProblem,
    "reject": RejectProblem,
    "analyse": AnalyseProblem,
    "prioritise": PrioritiseProblem,
    "propose-solution": ProposeSolution,
    "apply-solution": ApplySolution,
    "assess": AssessSolution,
    "close": CloseProblem,
    "reopen": ReopenProblem,
    "withdraw-referral": WithdrawReferral,
    "accept-referral": AcceptReferral,
    "decline-referral": DeclineReferral,
}
"""What can be asked of a reported problem, by the last part of the path."""


class Reported(msgspec.Struct, frozen=True):
    """The problem is recorded, durably: under this id, for people under this reference, at this position. `promise` is
    that in a form signed by the log's key, which anybody can verify and the region cannot take back: the next tree head
    will contain it."""

    id: UUID
    reference: str
    position: int
    promise: str


def routes(log: EventLog, vault: Vault, region: str) -> list[Any]:
    @post("/v1/problems", summary="Report a problem", responses=documented(400, 409, 413, 415, 422, 503))
    async def report_problem(request: Json, data: JSONBody[ProblemReport]) -> Answer[Reported]:
        known_area(data.area)
        intent = Intent(request, data)
        command, keys = sealed_report(vault, data, intent.key)

        async def recorded_as(*names: object) -> Outcome:
            problem_id = derive_id("problem", *names, intent.key)
            return await handle(log, PROBLEM, problem_id, command, intent.key, intent.metadata, new=True, keys=keys)

        try:
            outcome = await recorded_as(region)
        except KeyReused:
            outcome = await recorded_as()  # as it was before ids were those of one region: a retry has that outcome
        promise = await outcome.promise(log)
        body = Reported(outcome.stream_id, reference_of(region, outcome.position), outcome.position, promise)
        return Answer(body, outcome.version, f"/v1/problems/{outcome.stream_id}")

    one = "/v1/problems/{id:uuid}"
    return [
        report_problem,
        *(action(log, vault, PROBLEM, f"{one}/{path}", command) for path, command in ACTIONS.items()),
        sealed.opening(log, vault, one, ProblemEvent.__args__, {"location": _json, "reporter": _json}),
        sealed.erasing(log, vault, one, ProblemEvent.__args__),
    ]


def sealed_report(vault: Vault, report: ProblemReport, key: str) -> tuple[ReportProblem, list[WrappedKey]]:
    """The report to be recorded under an idempotency key, and the two keys that its data are sealed under: the texts'
    own, and the reporter's."""
    recorded_as = event_id(key)
    texts = vault.new_key(texts_of(recorded_as))
    keys, location, reporter = [texts.wrapped], "", ""
    if report.location is not None:
        location = texts.seal(recorded_as, msgspec.json.encode(report.location))
    if report.reporter is not None:
        person = vault.new_key(derive_id("reporter", key))
        keys.append(person.wrapped)
        reporter = person.seal(recorded_as, msgspec.json.encode(report.reporter))
    description = texts.seal(recorded_as, report.description)
    command = ReportProblem(
        report.area, report.category, report.title, description, report.disclosure, location, reporter
    )
    return command, keys


_json = msgspec.json.decode
