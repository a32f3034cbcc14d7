"""What a query string may not do, though Litestar takes it: give a parameter twice, or call it null."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from litestar.exceptions import ValidationException
from litestar.types import Scope


def require_plain_query(scope: Scope) -> None:
    """Raises ValidationException, which names the parameter."""
    seen: set[str] = set()
    optional = _optional(scope["route_handler"])
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name in seen:
            raise ValidationException(extra=[{"key": name, "message": "must be given once"}])
        if value == "null" and name in optional:
            raise ValidationException(extra=[{"key": name, "message": "null is no value: leave it out"}])
        seen.add(name)


@cache
def _optional(route_handler: Any) -> frozenset[str]:
    """The parameters, of its dependencies as well, for which Litestar would read "null" as their absence."""
    given = route_handler.resolve_dependencies()
    asked = dict(route_handler.parsed_fn_signature.parameters)
    for name in given.keys() & asked.keys():
        asked |= given[name].parsed_fn_signature.parameters
    return frozenset(
        getattr(field.kwarg_definition, "query", None) or name for name, field in asked.items() if field.is_optional
    )
