"""What a query string may not do, though Litestar takes it: name what there is not, give a parameter twice, or call it
null."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from litestar.exceptions import ValidationException
from litestar.params import HeaderParameter
from litestar.types import Scope
from litestar.typing import FieldDefinition


def require_plain_query(scope: Scope) -> None:
    """Raises ValidationException, which names the parameter."""
    seen: set[str] = set()
    parameters = _parameters(scope["route_handler"])
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name not in parameters:
            raise ValidationException(extra=[{"key": name[:60], "message": "there is no such parameter"}])
        if name in seen:
            raise ValidationException(extra=[{"key": name, "message": "must be given once"}])
        if value == "null" and parameters[name]:
            raise ValidationException(extra=[{"key": name, "message": "null is no value: leave it out"}])
        seen.add(name)


def asked_as(field: FieldDefinition) -> str:
    """What a client calls the parameter that a route handler knows by the field's name."""
    return getattr(field.kwarg_definition, "name", None) or field.name


@cache
def _parameters(route_handler: Any) -> dict[str, bool]:
    """What can be asked, its dependencies' parameters included, and whether Litestar would read "null" as absence."""
    given = route_handler.resolve_dependencies()
    asked = dict(route_handler.parsed_fn_signature.parameters)
    for name in given.keys() & asked.keys():
        del asked[name]
        asked |= given[name].parsed_fn_signature.parameters
    return {
        asked_as(field): field.is_optional
        for name, field in asked.items()
        if name != "request" and not isinstance(field.kwarg_definition, HeaderParameter)
    }
