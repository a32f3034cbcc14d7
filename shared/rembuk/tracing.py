"""Traces by OpenTelemetry: one from a request through log, relay and NATS into whoever handles its events; what reads
events again has a trace of its own, linked to theirs. Off, and nothing of it imported, unless OTEL_* says where to.

A span says which service, type of event, position, area, stream and follower, and no more: no id, no path or query, no
text of an error, nothing that a client or an event said.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rembuk.settings import CannotRun, Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Tracer
    from opentelemetry.trace import Span as OtelSpan

    from rembuk.events.event import RecordedEvent

FLUSH_S = 3.0
"""How long a process that ends waits for its last spans to be taken."""
MAX_LINKS = 128
"""Of one span: what OpenTelemetry's SDK keeps by default. A batch that is read again may have more originals."""
SAMPLED = ("1", "3", "5", "7", "9", "b", "d", "f")
"""How a traceparent ends whose span is recorded: the lowest bit of its flags is set. What follows from any other is not
recorded either, whatever the sampler, and costs nothing."""
UNTRACED = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Paths that machines ask every few seconds."""

on = False
"""Whether this process traces: whoever is on the path of every report asks this first."""

_provider: TracerProvider
_tracer: Tracer
_span_of: ContextVar[dict[int, Span]] = ContextVar("span_of")  # what is under way for the event at a position
_around: ContextVar[Span | None] = ContextVar("around", default=None)  # the errand that this process runs


class Span:
    """Something under way. `traceparent` names it in W3C Trace Context to whatever follows from it; where nothing is
    traced, it is that of what it follows from."""

    def __init__(self, traceparent: str, otel: OtelSpan | None = None) -> None:
        self.traceparent, self._otel = traceparent, otel

    def tell(self, **attributes: str | int) -> None:
        if self._otel is not None:
            self._otel.set_attributes({f"rembuk.{name}": value for name, value in attributes.items()})

    def answered(self, status: int) -> None:
        """What it was begun for was answered with this HTTP status."""
        if self._otel is not None:
            self._otel.set_attribute("http.response.status_code", status)
        if status >= 500:
            self.fail(str(status))

    def fail(self, kind: str) -> None:
        """It came to nothing; `kind` is the name of an error's class, or an HTTP status."""
        if self._otel is not None:
            from opentelemetry.trace import StatusCode

            self._otel.set_attribute("error.type", kind)
            self._otel.set_status(StatusCode.ERROR)

    def end(self) -> None:
        if self._otel is not None:
            self._otel.end()


class About(NamedTuple):
    """An event as spans tell of it."""

    traceparent: str
    type: str
    position: int
    area: str

    @classmethod
    def fact(cls, fact: RecordedEvent[Any]) -> About:
        return cls(fact.metadata.traceparent, type(fact.event).__name__, fact.position, fact.area)


def start(settings: Settings, process: str) -> None:
    """Trace this process if the environment says where to: OTEL_EXPORTER_OTLP_ENDPOINT or
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, and what else OpenTelemetry's SDK reads. Raises CannotRun."""
    global on, _provider, _tracer
    told = settings.tracing
    where = told.traces_endpoint or told.endpoint
    if not where or told.disabled.lower() == "true" or told.exporter == "none":
        return
    protocol = told.traces_protocol or told.protocol
    if protocol != "http/protobuf":
        raise CannotRun(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: spans are exported as http/protobuf alone")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    who = {"rembuk.region": settings.region, "rembuk.service": settings.service, "rembuk.process": process}
    if not told.service_name:
        who |= {"service.name": settings.service, "service.namespace": "rembuk"}
    _provider = TracerProvider(resource=Resource.create(who), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(_exporter()))
    _tracer = _provider.get_tracer("rembuk")
    on = True


def stop() -> None:
    """Hand over the last spans, for `FLUSH_S` at most."""
    global on
    if on:
        on = False
        handing = threading.Thread(target=_provider.shutdown, daemon=True)
        handing.start()
        handing.join(FLUSH_S)


def _exporter() -> Any:
    """The exporter, which says once that spans are lost and why, and once that they are taken again: what it says
    itself at each attempt goes nowhere."""
    import structlog
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Reasons(logging.Handler):
        last = ""

        def emit(self, record: logging.LogRecord) -> None:
            self.last = record.getMessage()

    log, reasons = structlog.get_logger(__name__), Reasons()
    library = logging.getLogger("opentelemetry")
    library.addHandler(reasons)
    library.propagate = False
    here = copy_context()  # it exports in a thread of its own

    class Exporter(OTLPSpanExporter):
        lost = False

        def export(self, spans: Any) -> Any:
            lost = super().export(spans) is not SpanExportResult.SUCCESS
            if lost and not self.lost:
                here.run(log.warning, "spans are lost", why=reasons.last)
            elif self.lost and not lost:
                here.run(log.info, "spans are taken again")
            self.lost = lost
            return SpanExportResult.FAILURE if lost else SpanExportResult.SUCCESS

    return Exporter()


def middlewares() -> list[Any]:
    """What an API puts around its route handlers: a span for each request, which stands in the header `traceparent`
    in place of the client's, its parent."""
    return [_serving] if on else []


def _serving(app: Any) -> Any:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        route = scope["path_template"]
        if scope["type"] != "http" or route in UNTRACED:
            await app(scope, receive, send)
            return

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                span.answered(message["status"])
            await send(message)

        others = [header for header in scope["headers"] if header[0] != b"traceparent"]
        client = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), "")
        method = scope["method"]
        said = {"http.request.method": method, "http.route": route, "url.scheme": scope["scheme"]}
        with _ended(_begun(f"{method} {route}", "SERVER", client, said)) as span:
            scope["headers"] = [*others, (b"traceparent", span.traceparent.encode())]
            await app(scope, receive, answer)

    return serve


@contextmanager
def under(parent: str, name: str, kind: str, **attributes: str | int) -> Iterator[Span]:
    """A span of `kind` (PRODUCER, CONSUMER, ...) that is a child of what the traceparent `parent` names; where that is
    nothing, or not recorded, no span."""
    if not (on and parent.endswith(SAMPLED)):
        yield Span(parent)
        return
    with _ended(_begun(name, kind, parent)) as begun:
        begun.tell(**attributes)
        yield begun


@contextmanager
def errand(name: str) -> Iterator[None]:
    """All that this process reads again belongs to one trace of its own."""
    if not on:
        yield
        return
    with _ended(_begun(name, "INTERNAL", "")) as begun:
        _around.set(begun)
        yield


@contextmanager
def batch(
    operation: str,
    stream: str,
    events: Iterable[About],
    *,
    live_after: int | None = None,
    follower: str = "",
) -> Iterator[None]:
    """Some events of a stream, in order, are published, processed, rebuilt from ... together.

    Each of those beyond the position `live_after` has a span that is a child of its own trace's. Those up to there
    (None: all) are read again: they share one span of another trace, linked to theirs. Nothing is told of what fails
    altogether, for it is tried again.
    """
    if not on:
        yield
        return
    spans = _spans(operation, stream, list(events), live_after, follower)
    token = _span_of.set(spans)
    try:
        yield
    finally:
        _span_of.reset(token)
    for span in set(spans.values()):
        span.end()


def handling(position: int, traceparent: str) -> str:
    """The traceparent for what follows from the event at `position` of the batch in hand, which itself has that one."""
    span = _span_of.get({}).get(position)
    return traceparent if span is None else span.traceparent


def blame(position: int, error: Exception) -> None:
    """The event at `position` of the batch in hand could not be handled."""
    if span := _span_of.get({}).get(position):
        span.fail(type(error).__name__)


def _spans(
    operation: str, stream: str, events: Sequence[About], live_after: int | None, follower: str
) -> dict[int, Span]:
    publishes = operation == "publish"
    begun = partial(_begun, f"{operation} {stream}", "PRODUCER" if publishes else "CONSUMER")
    said: dict[str, str | int] = {
        "messaging.system": "nats",
        "messaging.operation.name": operation,
        "messaging.operation.type": "send" if publishes else "process",
        "messaging.destination.name": stream,
        "messaging.batch.message_count": len(events),
    }
    if follower:
        said["messaging.consumer.group.name"] = follower
    spans: dict[int, Span] = {}
    again = [event for event in events if live_after is None or event.position <= live_after]
    if links := _links(again):
        around = _around.get()
        positions = {"rembuk.first_position": again[0].position, "rembuk.last_position": again[-1].position}
        span = begun(around.traceparent if around else "", said | positions, links)
        spans = dict.fromkeys([event.position for event in again], span)
    for event in events[len(again) :]:
        if event.traceparent.endswith(SAMPLED):
            about = {f"rembuk.{name}": value for name, value in event._asdict().items() if name != "traceparent"}
            spans[event.position] = begun(event.traceparent, said | about)
    return spans


def _links(events: Iterable[About]) -> list[Link]:
    """To the spans that some events come from, those that were recorded, each once."""
    from opentelemetry.trace import Link, get_current_span

    origins = dict.fromkeys(event.traceparent for event in events if event.traceparent.endswith(SAMPLED))
    contexts = (get_current_span(_context(one)).get_span_context() for one in islice(origins, MAX_LINKS))
    return [Link(context) for context in contexts if context.is_valid]


def _begun(
    name: str, kind: str, parent: str, attributes: Mapping[str, str | int] = {}, links: Sequence[Link] = ()
) -> Span:
    """A span under what `parent` names; the first of a trace where that is nothing."""
    from opentelemetry.trace import SpanKind

    otel = _tracer.start_span(name, _context(parent), SpanKind[kind], attributes, links)
    context = otel.get_span_context()
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return Span(traceparent, otel)


def _context(traceparent: str) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


@contextmanager
def _ended(span: Span) -> Iterator[Span]:
    try:
        yield span
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()
