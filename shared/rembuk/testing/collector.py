"""A real receiver of traces for tests: takes OTLP over HTTP, keeps every byte, and tells the spans in it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it was exported; ids are hexadecimal, `parent` is "" for the first of a trace, `links` are pairs of a
    trace and a span, `by` is the resource: which service and process."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    failed: bool
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    by: dict[str, Any]

    @property
    def place(self) -> tuple[str, str]:
        """As a link names it."""
        return self.trace, self.id


@dataclass
class Collector:
    """What processes exported to `url`, which is what OTEL_EXPORTER_OTLP_ENDPOINT takes."""

    url: str
    requests: list[bytes] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What has a process export to it soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def exported(self) -> bytes:
        """Everything that came, as it came: for whoever looks for what must not be in it."""
        return b"".join(self.requests)

    def spans(self, name: str = "") -> list[CollectedSpan]:
        """Those of a name, or all."""
        return [span for body in list(self.requests) for span in _spans(body) if name in ("", span.name)]


def _spans(body: bytes) -> Iterator[CollectedSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield CollectedSpan(
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    name=span.name,
                    kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes=dict(map(_attribute, span.attributes)),
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    by=dict(map(_attribute, resource.resource.attributes)),
                )


def _attribute(pair: KeyValue) -> tuple[str, Any]:
    return pair.key, getattr(pair.value, pair.value.WhichOneof("value") or "string_value")


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector on a port, any free one by default."""
    receiver = Collector("")

    class CollectorHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.requests.append(gzip.decompress(body) if self.headers["content-encoding"] else body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), CollectorHandler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield receiver
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as receiver:
        yield receiver
