"""What events look like: the JSON Schemas, where `dataschema` says that they are, and the AsyncAPI document."""

from __future__ import annotations

from functools import cache
from typing import Any

from litestar import Response, get

from rembuk.contracts.asyncapi import document
from rembuk.contracts.schemas import released
from rembuk.decider import Refused
from rembuk.web.problem_details import documented

_TYPE = "application/schema+json"
_ASYNCAPI = "application/vnd.aai.asyncapi+json"


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


@get(
    "/asyncapi.json",
    summary="What a region's services publish on NATS",
    description="An AsyncAPI 3 document: subjects, headers, and every version of every event",
    media_type=_ASYNCAPI,
    sync_to_thread=True,
)
def asyncapi() -> Response[dict[str, Any]]:
    return Response(_document(), media_type=_ASYNCAPI, headers={"Cache-Control": "public, max-age=3600"})


_document = cache(document)
