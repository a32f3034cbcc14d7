"""The OpenAPI document of a service: Litestar's, made to say exactly what is decoded, and what headers are heeded.

The bodies' schemas are msgspec's own: Litestar's leave out what the items of a tuple are, and that a field which there
is not is refused.
"""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute

from rembuk.web.problem_details import ProblemDetails
from rembuk.web.requests import KEY, VERSION

_HEADERS: list[dict[str, Any]] = [
    {
        "name": "Idempotency-Key", "in": "header", "required": False,
        "description": "Of the client's choice: a request sent again under it is answered as the first was",
        "schema": {"type": "string", "pattern": f"^{KEY}$", "maxLength": 255},
    },
    {
        "name": "If-Match", "in": "header", "required": False,
        "description": "The version that this request is based on, as an ETag gave it; refused when it is another one",
        "schema": {"type": "string", "pattern": f"^({VERSION}|\\*)$"},
    },
    {
        "name": "X-Correlation-ID", "in": "header", "required": False,
        "description": "Recorded with what follows from this request, if it is 1 to 128 of A-Z, a-z, 0-9, . _ : -",
        "schema": {"type": "string"},
    },
    {
        "name": "traceparent", "in": "header", "required": False,
        "description": "W3C trace context, recorded in the same way if it is well-formed",
        "schema": {"type": "string"},
    },
]  # fmt: skip


class Document(JsonRenderPlugin):
    """Serves the document, completed once."""

    _completed: bytes = b""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if not self._completed:
            self._completed = self.render_json(request, completed(openapi_schema, request.app))
        return self._completed


def completed(document: dict[str, Any], app: Litestar) -> dict[str, Any]:
    """Litestar's document with our schemas, parameters and headers."""
    _, schemas = msgspec.json.schema_components(_bodies(app), ref_template="#/components/schemas/{name}")
    for path in document["paths"].values():
        for method, operation in path.items():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _as_sent(parameter["schema"])
            if method in ("post", "delete"):
                heeded = [
                    header for header in _HEADERS if header["name"] != "If-Match" or "412" in operation["responses"]
                ]
                operation.setdefault("parameters", []).extend(heeded)
    return {**document, "components": {**document["components"], "schemas": schemas}}


def _bodies(app: Litestar) -> list[Any]:
    """The types of all bodies, asked and answered."""
    types: list[Any] = [ProblemDetails]
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if handler.resolve_include_in_schema() and handler.http_methods != {"OPTIONS"}:
                types += _types(handler)
    return types


def _types(handler: HTTPRouteHandler) -> list[Any]:
    answered = handler.parsed_fn_signature.return_type.annotation
    if isinstance(get_origin(answered), type) and issubclass(get_origin(answered) or object, Response):
        (answered,) = get_args(answered)
    asked = handler.parsed_data_field
    return [answered, *([asked.annotation] if asked else ())]


def _as_sent(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter: left out it may be, but null cannot be sent; whole limits are whole numbers."""
    rest = {name: value for name, value in schema.items() if name != "oneOf"}
    (kind,) = [one for one in schema.get("oneOf", ({},)) if one != {"type": "null"}]
    both = {**kind, **rest}
    if None in both.get("enum", ()):
        both |= {"type": "string", "enum": [value for value in both["enum"] if value is not None]}
    return {name: int(value) if name in ("minimum", "maximum") else value for name, value in both.items()}
