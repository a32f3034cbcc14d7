"""The short way to a route handler: it is called at once, past Litestar's general way of finding a route and reading
its arguments, which took a seventh of the time of accepting a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from uuid import UUID

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.exceptions import ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import CookieParameter, HeaderParameter
from litestar.routes import HTTPRoute
from litestar.types import HTTPScope, Receive, Scope, Send

from rembuk.process import logs
from rembuk.web import problem_details
from rembuk.web.answers import Answer
from rembuk.web.parameters import asked_as
from rembuk.web.protocol import WIRE, Wire
from rembuk.web.requests import StrictRequest, correlation_id, declares_json

_GIVEN = {"request", "id", "data"}
_ELSEWHERE = (HeaderParameter, CookieParameter)
_NO_BODY: dict[str, Any] = {"message": "'data'"}  # as Litestar says it


class _Call(NamedTuple):
    """What a route handler is called with."""

    handler: HTTPRouteHandler
    path: str
    takes: frozenset[str]
    made: dict[str, Callable[[], Any]]
    """Its dependencies, by name: each is made with its defaults."""
    asks: dict[str, str]
    """Its own names of what a query can ask, by the names that a client gives them."""
    needs: frozenset[str]
    """Those that have to be asked."""
    defaults: dict[str, Any]

    def asked(self, scope: HTTPScope) -> dict[str, str] | None:
        """What a query asks; None where it is not as plain as it should be, or asks what a dependency is made of."""
        query = scope["query_string"]
        if not query:
            return None if self.needs else {}
        if scope["method"] != "GET":
            return None
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        asked = {self.asks[name]: value for name, value in pairs if name in self.asks and value != "null"}
        return asked if len(asked) == len(pairs) and self.needs <= asked.keys() else None


class Direct:
    """An application of Litestar whose handlers in question are called directly: those that answer with an `Answer` and
    take of a request nothing but itself, its JSON body, the id in its path, and what is plainly asked in its query.
    Whatever is unusual about a request goes Litestar's way, before any of it is read: the answers are the same."""

    def __init__(self, app: Litestar) -> None:
        self._app, self._general = app, app.asgi_handler
        self._calls = {
            (method, route.path_format): call
            for route in app.routes
            if isinstance(route, HTTPRoute)
            for handler in route.route_handlers
            if (call := _call_of(handler, route.path_format))
            for method in handler.http_methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            path, id = _template(scope["path"])
            call = self._calls.get((scope["method"], path))
            if call is not None and (scope["method"] != "POST" or declares_json(scope["headers"])):
                asked = call.asked(scope)
                if asked is not None:
                    await self._answered(call, id, asked, scope, receive, send)
                    return
        await self._general(scope, receive, send)

    async def _answered(
        self, call: _Call, id: UUID | None, asked: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        logs.begin_journey(correlation_id(scope["headers"]))
        handler = call.handler
        scope["route_handler"], scope["path_template"] = handler, call.path
        scope["path_params"] = {} if id is None else {"id": id}  # type: ignore[dict-item]
        request = StrictRequest(scope, receive, send)
        try:
            if handler.resolve_guards():
                await handler.authorize_connection(connection=request)
            arguments: dict[str, Any] = {name: make() for name, make in call.made.items()}
            if "request" in call.takes:
                arguments["request"] = request
            if "id" in call.takes:
                arguments["id"] = id
            if "data" in call.takes:
                if not await request.body():
                    raise ValidationException(extra=[_NO_BODY])
                arguments["data"] = await request.json()
            if asked:
                given = call.defaults | arguments | asked
                arguments = handler.signature_model.parse_values_from_connection_kwargs(request, given)
            answer = await handler.fn(**arguments)
            response = answer.to_asgi_response(self._app, request, status_code=handler.status_code)
        except Exception as error:
            response = problem_details.answer(request, error).to_asgi_response(app=None, request=request)
        wire: Wire | None = (scope.get("extensions") or {}).get(WIRE)  # type: ignore[assignment]
        if wire is not None and isinstance(response, Answer):
            await wire.whole(response.status, response.fields, response.data)
        else:
            await response(scope, receive, send)


def _call_of(handler: HTTPRouteHandler, path: str) -> _Call | None:
    """None for a handler that needs more than there is on the short way."""
    signature, provided = handler.parsed_fn_signature, handler.resolve_dependencies()
    asked = signature.parameters
    made = {name: provided[name] for name in asked.keys() & provided.keys()}
    own = [asked[name] for name in asked.keys() - _GIVEN - made.keys()]
    theirs = [field for one in made.values() for field in one.parsed_fn_signature.parameters.values()]
    asks = {asked_as(field): field.name for field in own if not field.is_non_string_collection}
    needs = frozenset(field.name for field in own if field.is_required)
    if (
        not signature.return_type.is_subclass_of(Answer)
        or handler.has_sync_callable
        or not all(one.has_sync_callable for one in made.values())
        or not needs <= set(asks.values())
        or any(field.is_required for field in theirs)
        or any(isinstance(field.kwarg_definition, _ELSEWHERE) for field in own + theirs)
        or "any_body" in handler.opt
        or "{" in path.replace("{id}", "", 1)
    ):
        return None
    dependencies = {name: one.dependency for name, one in made.items()}
    defaults = {field.name: field.default for field in own if not field.is_required}
    return _Call(handler, path, frozenset(asked.keys() & _GIVEN), dependencies, asks, needs, defaults)


def _template(path: str) -> tuple[str, UUID | None]:
    """The path as a route has it, and the id that stands in its third place, in the one spelling that leads somewhere;
    the path itself where there is none."""
    parts = path.split("/", 4)
    if len(parts) > 3 and len(parts[3]) == 36:
        try:
            id = UUID(parts[3])
        except ValueError:
            return path, None
        if str(id) == parts[3]:
            parts[3] = "{id}"
            return "/".join(parts), id
    return path, None
