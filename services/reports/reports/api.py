"""The HTTP face of reports: a request becomes a command, an outcome becomes an answer."""

from asyncio import to_thread
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, Parameter, SkipValidation
from msgspec.structs import replace
from rembuk.areas.former import since_numbered
from rembuk.areas.index import TakesLong
from rembuk.areas.lookup import Area, areas
from rembuk.broker.cloud_events import CloudEvent, published
from rembuk.contracts.categories import CATEGORIES, Category
from rembuk.contracts.disclosure import may_see, shown_area
from rembuk.contracts.reports import CODEC, ProblemEvent, ProblemReported, ReferralOffered
from rembuk.contracts.status import Status
from rembuk.events.decider import Refused
from rembuk.events.event import Event
from rembuk.events.ids import derive_id, event_id
from rembuk.events.reference import reference_of
from rembuk.events.rows import recorded as read_row
from rembuk.events.wording import AREA_CODE
from rembuk.keys.referral_key import BadPublicKey
from rembuk.keys.region_key import WrappedKey
from rembuk.log.event_log import EventLog
from rembuk.log.handling import KeyReused, Outcome, handle
from rembuk.partners.partners import Partners
from rembuk.proof.receipt_code import svg
from rembuk.sealing.sealing import texts_of
from rembuk.sealing.vault import Vault
from rembuk.transparency.proofs import Proofs
from rembuk.web import sealed
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, Recorded, action, known_area, known_category, recorded
from rembuk.web.log_proofs import CODE, receipt_file
from rembuk.web.partner_access import WELCOME, WHOLE, Within, read_by_token
from rembuk.web.problem_details import documented
from rembuk.web.reading import AreaFilter, AtLeast, CategoryFilter, Cursor, Limit, Since, found, moment
from rembuk.web.requests import Id, Intent

from reports.briefs import History, reported_at, sealed_brief
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
    ReferProblem,
    Referral,
    RejectProblem,
    ReopenProblem,
    ReportProblem,
    VerifyProblem,
    WithdrawReferral,
)
from reports.domain import PROBLEM
from reports.queries import OtherRegion, Problem, ProblemPage, ProblemQueries, ReferralQueries

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


Reference = Annotated[str | None, Parameter(max_length=60, description="What its reporter wrote down: JATIM-000123")]
Queries = NamedDependency[SkipValidation[ProblemQueries]]
_FOUND = "By a category, or an area below a regency, only public problems are found."


class Reported(msgspec.Struct, frozen=True):
    """The problem is recorded, durably: under this id, for people under this reference, at this position. `promise` is
    that in a form signed by the log's key, which anybody can verify and the region cannot take back: the next tree head
    will contain it."""

    id: UUID
    reference: str
    position: int
    promise: str


def routes(
    log: EventLog, vault: Vault, proofs: Proofs, region: str, referrals: ReferralQueries, partners: Partners | None
) -> list[Any]:
    """Every route of the service but those that all services share."""
    within = read_by_token(partners, "reports")

    async def whole_history(problem_id: UUID) -> History:
        """The events of a problem here and elsewhere, by time. Raises Refused for what is none of ours."""
        history = await referrals.history(problem_id, region)
        if not history:
            raise Refused("unknown-problem")
        return history

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

    @post(
        "/v1/problems/{id:uuid}/refer",
        status_code=200,
        operation_id="ReferProblem",
        summary="Offer it to another region",
        responses=documented(400, 404, 409, 412, 413, 415, 422, 503),
    )
    async def refer_problem(request: Json, id: Id, data: JSONBody[Referral]) -> Answer[Recorded]:
        intent = Intent(request, data, id)
        history = await whole_history(id)
        command, keys = await sealed_referral(vault, referrals, region, history, data, event_id(intent.key))
        version = intent.expected_version
        return recorded(
            await handle(log, PROBLEM, id, command, intent.key, intent.metadata, expected_version=version, keys=keys)
        )

    @get("/v1/regions", summary="To whom a problem can be referred", responses=documented(400, 503))
    async def list_regions() -> Answer[list[OtherRegion]]:
        return Answer(await referrals.regions())

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
        return Answer(shown_history(region, await whole_history(id), within(request)))

    @get(
        "/v1/problems/{id:uuid}/receipt",
        summary="The proof that the report is kept",
        description="A C2SP tlog-proof, which `rembuk receipt verify` and docs/verify_receipt.py verify offline",
        media_type=MediaType.TEXT,
        responses=documented(400, 404, 409, 503),
    )
    async def read_receipt(id: Id) -> Response[str]:
        return receipt_file(region, *await proofs.receipt_of(id, "unknown-problem"))

    @get(
        "/v1/problems/{id:uuid}/receipt.svg",
        summary="The same as a QR code, to be printed",
        media_type=CODE,
        responses=documented(400, 404, 409, 503),
    )
    async def read_receipt_code(id: Id) -> Response[bytes]:
        _, receipt = await proofs.receipt_of(id, "unknown-problem")
        return Response(await to_thread(svg, receipt), media_type=CODE)

    @get("/v1/areas", summary="Find areas by name or code", responses=documented(400, 422))
    async def find_areas(
        q: Annotated[str, Parameter(min_length=1, max_length=100)],
        within: Annotated[str | None, Parameter(pattern=AREA_CODE)] = None,
        limit: Limit = 10,
    ) -> Answer[list[Area]]:
        known_area(within, "within")
        try:
            matching = areas().search(q, limit, within, at_once=True)
        except TakesLong:
            matching = await to_thread(areas().search, q, limit, within)
        return Answer(matching or since_numbered(q, within)[:limit])

    @get("/v1/categories", summary="Every category of problems", sync_to_thread=False)
    def list_categories() -> list[Category]:
        return list(CATEGORIES.values())

    one = "/v1/problems/{id:uuid}"
    return [
        report_problem,
        refer_problem,
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
        list_regions,
    ]


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


_json = msgspec.json.decode
_TELLING = {ProblemReported.__name__, ReferralOffered.__name__}
