"""What events look like: the JSON Schemas, where `dataschema` says that they are, and the AsyncAPI document."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from rembuk.contracts import bundle
from rembuk.contracts.asyncapi import document
from rembuk.contracts.schemas import released, released_versions
from rembuk.events.decider import Refused
from rembuk.web.problem_details import documented

_TYPE = "application/schema+json"
_ASYNCAPI = "application/vnd.aai.asyncapi+json"

_CACHED = {"Cache-Control": "public, max-age=3600"}


class SchemaLink(msgspec.Struct, frozen=True):
    """Where the JSON Schema of one version of one event is: `href` is a path of this service."""

    service: str
    type: str
    version: int
    dataschema: str
    href: str


class SchemaIndex(msgspec.Struct, frozen=True):
    """All schemas, and `bundle`, the path of the one that has all of them."""

    bundle: str
    schemas: list[SchemaLink]


@get("/schemas", summary="Every version of every event, and where its JSON Schema is")
async def schema_index() -> SchemaIndex:
    return _index()


@get(
    bundle.PATH,
    summary="The JSON Schema of any event in its envelope: all versions in one document",
    media_type=_TYPE,
    sync_to_thread=True,
)
def schema_bundle() -> Response[dict[str, Any]]:
    return Response(_bundle(), media_type=_TYPE, headers=_CACHED)


@get(
    "/schemas/{service:str}/{event:str}/{file:str}",
    summary="The JSON Schema of an event's version",
    description="`/schemas/reports/ProblemReported/2.json`, the path of an event's `dataschema`",
    media_type=_TYPE,
    responses=documented(404),
    sync_to_thread=True,
)
def event_schema(service: FromPath[str], event: FromPath[str], file: FromPath[str]) -> Response[bytes]:
    version, dot, kind = file.partition(".")
    known = version.isdecimal() and len(version) < 4 and (dot, kind) == (".", "json")
    schema = released(service, event, int(version)) if known else None
    if schema is None:
        raise Refused("unknown-schema", f"no version of an event has the schema /schemas/{service}/{event}/{file}")
    return Response(schema, media_type=_TYPE, headers=_CACHED)


@get(
    "/asyncapi.json",
    summary="What a region's services publish on NATS",
    description="An AsyncAPI 3 document: subjects, headers, and every version of every event",
    media_type=_ASYNCAPI,
    sync_to_thread=True,
)
def asyncapi() -> Response[dict[str, Any]]:
    return Response(_document(), media_type=_ASYNCAPI, headers=_CACHED)


@cache
def _index() -> SchemaIndex:
    links = [SchemaLink(one.service, one.type, one.version, one.uri, one.path) for one in released_versions()]
    return SchemaIndex(bundle.PATH, links)


_bundle = cache(bundle.bundle)
_document = cache(document)
