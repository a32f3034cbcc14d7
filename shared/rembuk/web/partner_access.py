"""Who reads the log by HTTP: a partner, known by the token that it bears (RFC 6750)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Guard

from rembuk.partners.partners import MARK, Partner, Partners
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
WELCOME: list[dict[str, list[str]]] = [{}, *REQUIRED]
WHOLE = "A partner's token whose scope has every type of event shows, within its areas, what is not public, too."
"""What is said of a route that is for everybody, and shows more to the bearer of a token."""


_ANY_TYPE = ""
"""No type of an event: only a scope that names none sees it."""
Connection = ASGIConnection[Any, Any, Any, Any]
Within = Callable[[str], bool]
"""Whether whoever asks reads the events about an area, and so what they say of what is not public."""


def read_by_token(partners: Partners | None, service: str) -> Callable[[Connection], Within]:
    """Where the partner whose token a request bears may read every event of a service; who bears none does nowhere,
    whatever else he shows to a proxy before us. Raises NotAuthorizedException for a token that no active partner has.
    """

    def of(connection: Connection) -> Within:
        token = _token(connection.headers.getall("authorization", []))
        if token is None or not token.startswith(MARK):
            return lambda _: False
        partner = (partners and partners.bearing(token)) or _refuse()
        return lambda area: partner.scope.sees(service, _ANY_TYPE, area)

    return of


def partners_only(partners: Partners | None, service: str) -> Guard:
    """Lets active partners pass whose scope has this service; the route handler finds who it is as `request.user`.
    Raises NotAuthorizedException, PermissionDeniedException."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if partners is None:
            raise _unknown(f"nobody is a partner here; an operator sets {PARTNERS} and runs: rembuk partner add", "")
        token = _token(connection.headers.getall("authorization", []))
        if token is None:
            raise _unknown("say who you are: Authorization: Bearer <token>", "")
        partner = partners.bearing(token) or _refuse()
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


def _refuse() -> NoReturn:
    raise _unknown("no active partner has this token", ' error="invalid_token"')


def _unknown(why: str, error: str) -> NotAuthorizedException:
    return NotAuthorizedException(why, headers={"WWW-Authenticate": f"Bearer{error}"})
