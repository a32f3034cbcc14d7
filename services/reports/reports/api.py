"""The HTTP face of reports: a request becomes a command, an outcome becomes an answer."""

from asyncio import to_thread
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation
from rembuk.areas import Area, areas
from rembuk.cloud_events import CloudEvent, published
from rembuk.contracts.categories import CATEGORIES, Category
from rembuk.contracts.reports import ProblemEvent
from rembuk.decider import Refused
from rembuk.event_log import EventLog
from rembuk.handling import handle
from rembuk.ids import derive_id, event_id
from rembuk.proofs import Proofs
from rembuk.receipt_code import svg
from rembuk.region_key import WrappedKey
from rembuk.sealing import texts_of
from rembuk.vault import Vault
from rembuk.web import sealed
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, action, known_area, known_category
from rembuk.web.log_proofs import CODE, receipt_file, reference_of
from rembuk.web.problem_details import documented
from rembuk.web.reading import AreaFilter, AtLeast, CategoryFilter, Cursor, Limit, Since, found, moment
from rembuk.web.requests import Intent
from rembuk.wording import AREA_CODE

from reports.commands import (
    AnalyseProblem,
    ApplySolution,
    AssessSolution,
    CloseProblem,
    PrioritiseProblem,
    ProblemReport,
    ProposeSolution,
    RejectProblem,
    ReopenProblem,
    ReportProblem,
    VerifyProblem,
)
from reports.domain import PROBLEM
from reports.queries import Problem, ProblemPage, ProblemQueries, Status

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
}
"""What can be asked of a reported problem, by the last part of the path."""


Reference = Annotated[str | None, Parameter(max_length=60, description="What its reporter wrote down: JATIM-000123")]
Queries = NamedDependency[SkipValidation[ProblemQueries]]


class Reported(msgspec.Struct, frozen=True):
    """The problem is recorded, durably: under this id, for people under this reference, at this position. `promise` is
    that in a form signed by the log's key, which anybody can verify and the region cannot take back: the next tree head
    will contain it."""

    id: UUID
    reference: str
    position: int
    promise: str


def routes(log: EventLog, vault: Vault, proofs: Proofs, region: str) -> list[Any]:
    """Every route of the service but those that all services share."""

    @post("/v1/problems", summary="Report a problem", responses=documented(400, 409, 413, 415, 422, 503))
    async def report_problem(request: Json, data: ProblemReport) -> Answer[Reported]:
        known_area(data.area)
        intent = Intent(request, data)
        problem_id = derive_id("problem", intent.key)
        command, keys = sealed_report(vault, data, intent.key)
        outcome = await handle(log, PROBLEM, problem_id, command, intent.key, intent.metadata, new=True, keys=keys)
        promise = await outcome.promise(log)
        body = Reported(problem_id, reference_of(region, outcome.position), outcome.position, promise)
        return Answer(body, outcome.version, f"/v1/problems/{problem_id}")

    @get("/v1/problems", summary="Problems, newest first", responses=documented(400, 422, 503))
    async def list_problems(
        queries: Queries,
        area: AreaFilter = None,
        category: CategoryFilter = None,
        status: Status | None = None,
        since: Since = None,
        reference: Reference = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        at_least: AtLeast = None,
    ) -> ProblemPage:
        known_area(area)
        known_category(category)
        return await queries.page(
            area=area,
            category=category,
            status=status,
            since=moment(since, "since"),
            named=reference,
            cursor=cursor,
            limit=limit,
            at_least=at_least,
        )

    @get("/v1/problems/{id:uuid}", summary="One problem", responses=documented(400, 404, 422, 503))
    async def read_problem(queries: Queries, id: UUID, at_least: AtLeast = None) -> Response[Problem]:
        return found(await queries.one(id, at_least), "unknown-problem")

    @get("/v1/problems/{id:uuid}/history", summary="Its events", responses=documented(400, 404, 503))
    async def read_history(id: UUID) -> list[CloudEvent]:
        history = await log.rows_of(id)
        if not history:
            raise Refused("unknown-problem")
        return [published(region, "reports", row) for row in history]

    @get(
        "/v1/problems/{id:uuid}/receipt",
        summary="The proof that the report is kept",
        description="A C2SP tlog-proof, which `rembuk receipt verify` and docs/verify_receipt.py verify offline",
        media_type=MediaType.TEXT,
        responses=documented(400, 404, 409, 503),
    )
    async def read_receipt(id: UUID) -> Response[str]:
        return receipt_file(region, *await proofs.receipt_of(id, "unknown-problem"))

    @get(
        "/v1/problems/{id:uuid}/receipt.svg",
        summary="The same as a QR code, to be printed",
        media_type=CODE,
        responses=documented(400, 404, 409, 503),
    )
    async def read_receipt_code(id: UUID) -> Response[bytes]:
        _, receipt = await proofs.receipt_of(id, "unknown-problem")
        return Response(await to_thread(svg, receipt), media_type=CODE)

    @get("/v1/areas", summary="Find areas by name or code", responses=documented(400, 422), sync_to_thread=True)
    def find_areas(
        q: Annotated[str, Parameter(min_length=1, max_length=100)],
        within: Annotated[str | None, Parameter(pattern=AREA_CODE)] = None,
        limit: Limit = 10,
    ) -> Sequence[Area]:
        known_area(within, "within")
        return areas().search(q, limit, within)

    @get("/v1/categories", summary="Every category of problems", sync_to_thread=False)
    def list_categories() -> list[Category]:
        return list(CATEGORIES.values())

    one = "/v1/problems/{id:uuid}"
    return [
        report_problem,
        *(action(log, vault, PROBLEM, f"{one}/{path}", command) for path, command in ACTIONS.items()),
        sealed.opening(log, vault, one, ProblemEvent.__args__, {"location": _json, "reporter": _json}),
        sealed.erasing(log, vault, one, ProblemEvent.__args__),
        list_problems,
        read_problem,
        read_history,
        read_receipt,
        read_receipt_code,
        find_areas,
        list_categories,
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
