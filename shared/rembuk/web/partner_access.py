"""Who reads the log by HTTP: a partner, known by the token that it bears (RFC 6750)."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Guard

from rembuk.partners import Partner, Partners
from rembuk.settings import PARTNERS

SCHEME = "partner"
COMPONENTS = Components(
    security_schemes={
        SCHEME: SecurityScheme(
            type="http", scheme="bearer", description="A partner's token, as `rembuk partner add` told it once"
        )
    }
)
REQUIRED: list[dict[str, list[str]]] = [{SCHEME: []}]


def partners_only(partners: Partners | None, service: str) -> Guard:
    """Lets active partners pass whose scope has this service; the route handler finds who it is as `request.user`.
    Raises NotAuthorizedException, PermissionDeniedException."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if partners is None:
            raise _unknown(f"nobody is a partner here; an operator sets {PARTNERS} and runs: rembuk partner add", "")
        token = _token(connection.headers.getall("authorization", []))
        if token is None:
            raise _unknown("say who you are: Authorization: Bearer <token>", "")
        partner = partners.bearing(token)
        if partner is None:
            raise _unknown("no active partner has this token", ' error="invalid_token"')
        _require(partner, service)
        connection.scope["user"] = partner

    return guard


def _token(headers: list[str]) -> str | None:
    """What the only Authorization header bears."""
    if len(headers) != 1:
        return None
    scheme, _, token = headers[0].strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _require(partner: Partner, service: str) -> None:
    if service not in partner.scope.services:
        raise PermissionDeniedException(
            f"{partner.name} may read the events of {', '.join(partner.scope.services)}, not of {service}",
            headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
        )


def _unknown(why: str, error: str) -> NotAuthorizedException:
    return NotAuthorizedException(why, headers={"WWW-Authenticate": f"Bearer{error}"})
