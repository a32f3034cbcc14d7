"""A region's processes for a measure, how far behind its followers are, and wrk to load it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import nats
from rembuk.broker.stream_names import stream_name
from rembuk.broker.streams import tail_of
from rembuk.embedded.region import PROCESSES, RegionConfig
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.ports import free_ports

from bench.work import REPORT, Servers, sized

CONNECTIONS = 64


@dataclass
class Load:
    """What wrk saw: requests per second, latency at the median and the 99th percentile in ms, answers not 2xx."""

    rate: float
    p50: float
    p99: float
    failed: int


@contextmanager
def region(servers: Servers, processes: dict[str, tuple[str, ...]] | None = None) -> Iterator[RunningRegion]:
    """A new region with the named processes of each service (all by default), ready; ended afterwards."""
    running = RunningRegion(servers, processes or dict.fromkeys(SERVICES, PROCESSES))
    try:
        running.start()
        yield running
    finally:
        running.stop()


class RunningRegion:
    """Processes of one region on the shared servers."""

    def __init__(self, servers: Servers, processes: dict[str, tuple[str, ...]]) -> None:
        self._processes = processes
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.region = RegionConfig(
            name=f"b{uuid4().hex[:10]}",
            postgres_url=servers.postgres_url,
            nats_url=servers.nats_url,
            password="bench",
            region_key="YmVuY2ggYmVuY2ggYmVuY2ggYmVuY2ggYmVuY2ggYmU=",
            log_key="YmVuY2ggYmVuY2ggYmVuY2ggYmVuY2ggYmVuY2ggYmU=",
            ports={service: free_ports() for service in SERVICES},
        )

    def start(self) -> None:
        asyncio.run(self.region.provision())
        self.region.migrate()
        for service, processes in self._processes.items():
            for process in processes:
                self.children[f"{service} {process}"] = self.region.spawn(service, process, subprocess.DEVNULL)
        for service, processes in self._processes.items():
            if "api" in processes:
                wait_until_answers(f"{self.region.url(service)}/health/ready")

    def stop(self) -> None:
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            child.wait()


@contextmanager
def orm_peer(module: str, database_url: str) -> Iterator[str]:
    """A FastAPI service of `bench.peers`, as uvicorn runs it fastest, on this database; its URL."""
    port = free_ports()
    child = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", f"bench.peers.{module}:app", "--loop", "uvloop", "--http", "httptools",
         "--port", str(port), "--no-access-log", "--log-level", "warning"],
        env={**os.environ, "BENCH_DATABASE_URL": database_url},
    )  # fmt: skip
    try:
        wait_until_answers(f"http://127.0.0.1:{port}/openapi.json")
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait()


def wait_until_answers(url: str, within: float = 60, by: subprocess.Popen[bytes] | None = None) -> None:
    """Poll until a GET is answered 200; gives up when the process that leads to the answer fails."""
    deadline = time.monotonic() + within
    while True:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        if (by is not None and by.poll()) or time.monotonic() > deadline:
            raise TimeoutError(f"{url} does not answer")
        time.sleep(0.02)


def wrk(url: str, seconds: float, delay_ms: int = 0, areas: Sequence[str] = (REPORT["area"],)) -> Load:
    """Load POST /v1/problems at `url` through 64 connections, about these areas in turn; with `delay_ms` each pauses so
    long between requests."""
    body = msgspec.json.encode({**REPORT, "title": "TITLE", "area": "AREA"}).decode()
    body = body.replace("TITLE", "Motor hilang ' .. n .. '").replace("AREA", "' .. areas[n % #areas + 1] .. '")
    script = (
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nlocal n = 0\n'
        f"local areas = {{{', '.join(map(repr, areas))}}}\n"
        f"request = function() n = n + 1; return wrk.format(nil, nil, nil, '{body}') end\n"
    )
    if delay_ms:
        script += f"delay = function() return math.random({delay_ms // 2}, {delay_ms + delay_ms // 2}) end\n"
    return _loaded(
        f"{url}/v1/problems",
        script,
        seconds,
        CONNECTIONS,
        lambda client, n: client.post(f"{url}/v1/problems", json={**REPORT, "area": areas[n % len(areas)]}),
    )


def wrk_get(url: str, seconds: float, paths: Sequence[str], connections: int, tokens: Sequence[str] = ()) -> Load:
    """Load GETs of these paths at `url`, in turn, through so many connections, with these tokens."""
    headers = [{"Authorization": one} for one in tokens] or [{}]
    script = (
        f"local n, paths = 0, {{{', '.join(map(repr, paths))}}}\n"
        f"local readers = {{{', '.join(map(repr, tokens)) or 'false'}}}\n"
        "request = function()\n    n = n + 1\n    local reader = readers[n % #readers + 1]\n"
        "    return wrk.format('GET', paths[n % #paths + 1], reader and {Authorization = reader} or nil)\nend\n"
    )
    return _loaded(
        url, script, seconds, connections,
        lambda client, n: client.get(url + paths[n % len(paths)], headers=headers[n % len(headers)]),
    )  # fmt: skip


_WRK_DID: set[int] = set()
"""What wrk has been asked for, by its connections: in a tiny form once each, for it takes a whole second at least."""


def _loaded(
    url: str, script: str, seconds: float, connections: int, once: Callable[[httpx.Client, int], httpx.Response]
) -> Load:
    program, tiny = shutil.which("wrk"), sized(False, tiny=True)
    if tiny and (program is None or connections in _WRK_DID):
        return _one_by_one(seconds, once)
    _WRK_DID.add(connections)
    if program is None:
        raise SystemExit("make bench needs wrk (apt-get install wrk): a load generator light enough to share two cores")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        said = subprocess.run(
            [program, "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--latency", "-s", file.name, url],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    load = Load(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        p50=_milliseconds(_found(r"\n\s+50%\s+(\S+)", said)),
        p99=_milliseconds(_found(r"\n\s+99%\s+(\S+)", said)),
        failed=int(failed[1]) if failed else 0,
    )
    if tiny and not load.rate:  # a busy machine may answer nothing in a second
        return _one_by_one(seconds, once)
    return load


def _one_by_one(seconds: float, once: Callable[[httpx.Client, int], httpx.Response]) -> Load:
    """A little load, for the tiny form alone."""
    began, took, failed = time.perf_counter(), list[float](), 0
    with httpx.Client(timeout=30) as client:
        while (sent := time.perf_counter()) < began + seconds or not took:
            failed += once(client, len(took)).is_error
            took.append((time.perf_counter() - sent) * 1000)
    return Load(len(took) / seconds, statistics.median(took), max(took), failed)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"wrk said: {text}")
    return match[1]


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


class LagWatch(threading.Thread):
    """Looks five times a second how old the oldest event is that some follower of the reports stream has not done."""

    FOLLOWERS = "select follower, position from checkpoint where stream = $1"
    AGE = "select extract(epoch from clock_timestamp() - recorded_at) from log.event where position = $1"

    def __init__(self, region: RegionConfig) -> None:
        super().__init__(daemon=True)
        self._region = region
        self._ended = threading.Event()
        self.worst: dict[str, float] = {}

    def run(self) -> None:
        asyncio.run(self._watch())

    def end(self) -> float:
        """Stop looking; the worst lag seen, in seconds."""
        self._ended.set()
        self.join()
        return max(self.worst.values(), default=float("inf"))

    async def _watch(self) -> None:
        stream = f"{self._region.name}_reports".upper()
        databases = {service: await asyncpg.connect(self._region.database(service).service_url) for service in SERVICES}
        log = databases["reports"]
        while not self._ended.is_set():
            for service, database in databases.items():
                for row in await database.fetch(self.FOLLOWERS, stream):
                    age = await log.fetchval(self.AGE, row["position"] + 1)
                    name = f"{service} {row['follower']}"
                    self.worst[name] = max(self.worst.get(name, 0.0), float(age or 0))
            await asyncio.sleep(0.2)
        for database in databases.values():
            await database.close()


async def level(region: RegionConfig, within: float = 120, services: Sequence[str] = SERVICES) -> None:
    """Wait until every follower that `services` have of the reports stream has reached the log's head."""
    stream = f"{region.name}_reports".upper()
    deadline = time.monotonic() + within
    for service in services:
        database = await asyncpg.connect(region.database(service).service_url)
        log = await asyncpg.connect(region.database("reports").service_url)
        while True:
            head = await log.fetchval("select position from log.head")
            behind = await database.fetchval(
                "select count(*) from checkpoint where stream = $1 and position < $2", stream, head
            )
            if not behind:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{service} does not catch up")
            await asyncio.sleep(0.1)
        await database.close()
        await log.close()


async def relayed(one: RunningRegion) -> int:
    """The last position of a region's reports, once its relay has published all."""
    database = one.region.database("reports").service_url
    log = await asyncpg.connect(database)
    head: int = await log.fetchval("select position from log.head")
    await log.close()
    client = await nats.connect(one.region.nats_url)
    while await tail_of(client.jetstream(), stream_name(one.region.name, "reports")) < head:
        await asyncio.sleep(0.2)
    await client.close()
    return head
