"""Where to look: what a service answers to whoever knows its address alone, as JSON or, for a browser, as a page."""

from __future__ import annotations

from html import escape
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get

LINKS = {
    "/schema": "Every path, parameter and answer: the OpenAPI 3.1 document",
    "/schemas": "Every version of every event, as JSON Schema",
    "/asyncapi.json": "What is published on NATS: the AsyncAPI 3 document",
    "/v1/events": "The events themselves, for partners",
    "/v1/log/keys": "Who signs the log",
    "/health/ready": "Whether the service can do its work",
    "/metrics": "How it stands, for Prometheus",
}
DOCUMENTS = "docs/integrate.md, docs/glossary.md and docs/events.md in Rembuk's repository"


class Link(msgspec.Struct, frozen=True):
    href: str
    title: str


class Index(msgspec.Struct, frozen=True):
    """What this is, and where to look."""

    service: str
    region: str
    title: str
    links: list[Link]
    documents: str


def index(service: str, region: str, title: str) -> Any:
    """The route handler of `/` and `/docs`."""
    told = Index(service, region, title, [Link(*link) for link in LINKS.items()], DOCUMENTS)
    page = _page(told)

    @get(["/", "/docs"], include_in_schema=False, sync_to_thread=False)
    def where_to_look(request: Request[Any, Any, Any]) -> Response[Any]:
        asks_for_a_page = "text/html" in request.headers.get("accept", "")
        body, media_type = (page, MediaType.HTML) if asks_for_a_page else (told, MediaType.JSON)
        return Response(body, media_type=media_type, headers={"Vary": "Accept"})

    return where_to_look


def _page(told: Index) -> str:
    items = "".join(f'<li><a href="{one.href}">{one.href}</a>: {escape(one.title)}</li>' for one in told.links)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(told.title)}</title>'
        f"<h1>{escape(told.title)}</h1><p>Region {escape(told.region)}. How to use it: {escape(told.documents)}.</p>"
        f"<ul>{items}</ul></html>"
    )
