"""Tracing costs nothing that matters: not where it is off, and not where its collector is away or hangs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rembuk.testing.collector import collecting
from rembuk.testing.ports import free_ports
from rembuk.testing.receivers import only
from rembuk.testing.services import RunningRegion, eventually

PROBLEM = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


class Silent:
    """A region whose collector is not there, and what its processes log."""

    def __init__(self, region: RunningRegion, port: int, path: Path) -> None:
        self.region, self.port, self.path = region, port, path

    def lines(self, event: str, process: str) -> list[dict[str, Any]]:
        said = map(json.loads, self.path.read_text().splitlines())
        return [line for line in said if (line["event"], line["process"]) == (event, process)]


@pytest.fixture
def silent(postgres_url: str, nats_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Silent]:
    port, patience = free_ports(), getattr(request, "param", "1")
    extra = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{port}/v1/traces",
        "OTEL_EXPORTER_OTLP_TIMEOUT": patience, "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_BSP_MAX_QUEUE_SIZE": "32", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16",
    }  # fmt: skip
    region = RunningRegion(postgres_url, nats_url, ("reports",), extra)
    silent = Silent(region, port, tmp_path / "log.jsonl")
    with silent.path.open("ab") as region.output:
        region.prepare()
        region.start_all()
        yield silent
        region.stop_all()


def report_many(region: RunningRegion, problems: int) -> None:
    with httpx.Client(base_url=region.url("reports"), timeout=5) as http:
        for _ in range(problems):
            http.post("/v1/problems", json=PROBLEM).raise_for_status()


def test_a_collector_that_is_away_costs_no_request_and_is_spoken_of_once(silent: Silent) -> None:
    report_many(silent.region, 200)
    for process in ("api", "worker"):
        eventually(lambda process=process: only(silent.lines("spans are lost", process)))
    with collecting(silent.port) as collector:

        def back() -> None:
            report_many(silent.region, 1)
            for process in ("api", "worker"):
                only(silent.lines("spans are taken again", process))

        eventually(back)
        kept = [span for span in collector.spans("append ProblemReported") if span.attributes["rembuk.position"] <= 200]
        assert len(kept) <= 32 + 16  # what the queue holds, and the batch that was on its way
        assert "while exporting" not in silent.path.read_text()
        assert [len(silent.lines("spans are lost", process)) for process in ("api", "worker")] == [1, 1]


@pytest.mark.parametrize("silent", ["60"], indirect=True)
def test_a_process_ends_soon_though_its_collector_hangs(silent: Silent) -> None:
    with socket.create_server(("127.0.0.1", silent.port)):
        report_many(silent.region, 50)
        began = time.monotonic()
        assert [silent.region.stop("reports", process) for process in ("api", "worker")] == [0, 0]
        assert time.monotonic() - began < 15


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a process of a region, which need not run."""
    region = RunningRegion("postgresql://nowhere/", "nats://nowhere", ("reports",), {}).region
    told = {name: value for name, value in region.environment("reports").items() if name[:5] != "OTEL_"}
    return subprocess.run(
        [sys.executable, "-c", code], env=told | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_who_is_not_told_where_to_imports_nothing_of_it() -> None:
    code = """
import sys, reports.app, reports.worker
from rembuk import tracing
from rembuk.settings import Settings
settings = Settings.load("reports")
tracing.start(settings, "api")
reports.app.build(settings)
print(tracing.on, len(tracing.middlewares()), "opentelemetry.sdk" in sys.modules)
"""
    assert python(code).stdout.split() == ["False", "0", "False"]
    somewhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    assert python(code, **somewhere).stdout.split() == ["True", "1", "True"]
    assert python(code, OTEL_SDK_DISABLED="true", **somewhere).stdout.split()[0] == "False"


def test_a_protocol_that_is_not_spoken_is_refused_by_name() -> None:
    somewhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    refused = python("from reports.__main__ import main; main()", **somewhere)
    assert refused.returncode == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is grpc" in refused.stderr
