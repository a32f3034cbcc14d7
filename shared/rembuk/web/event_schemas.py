"""The JSON Schemas of events, where `dataschema` says that they are."""

from __future__ import annotations

from litestar import Response, get

from rembuk.contracts.schemas import released
from rembuk.decider import Refused
from rembuk.web.problem_details import documented

_TYPE = "application/schema+json"


@get(
    "/schemas/{service:str}/{event:str}/{file:str}",
    summary="The JSON Schema of an event's version",
    description="`/schemas/reports/ProblemReported/2.json`, the path of an event's `dataschema`",
    media_type=_TYPE,
    responses=documented(404),
    sync_to_thread=True,
)
def event_schema(service: str, event: str, file: str) -> Response[bytes]:
    version, dot, kind = file.partition(".")
    known = version.isdecimal() and len(version) < 4 and (dot, kind) == (".", "json")
    schema = released(service, event, int(version)) if known else None
    if schema is None:
        raise Refused("unknown-schema", f"no version of an event has the schema /schemas/{service}/{event}/{file}")
    return Response(schema, media_type=_TYPE, headers={"Cache-Control": "public, max-age=3600"})
