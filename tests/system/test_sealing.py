"""Canaries: what is declared sealed goes in at every ingress, and is searched for wherever anything is kept or said.

Every sealed text contains `SECRET` or is one of `NUMBERS`; titles contain `PUBLIC`, and have to be found, so that a
place where nobody looks properly is noticed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pyarrow import parquet
from rembuk.broker.connecting import connect
from rembuk.broker.stream_names import stream_name
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.collector import Collector, collector
from rembuk.testing.receivers import Mailbox, Sink, only, smtp
from rembuk.testing.services import RunningRegion, eventually

__all__ = ["collector", "smtp"]

SECRET, PUBLIC = "kenariGelap", "pipitTerang"
PHONE, LAT, LON = "+62 8127 7391 5526", -7.2719283746, 112.7182818459
NUMBERS = (PHONE, "8127 7391", "81277391", "2719283746", "7182818459")
VILLAGE = "35.78.08.1004"
WITH_PUBLIC = {"log", "read models", "stream", "ndjson", "parquet", "quarantine", "postgres files", "nats files"}
"""Places that have to hold what is public."""

REPORT = {
    "area": VILLAGE,
    "category": "theft",
    "title": f"{PUBLIC} judul",
    "description": f"{SECRET} uraian",
    "location": {"lat": LAT, "lon": LON},
    "reporter": {"name": f"{SECRET} pelapor", "phone": PHONE},
}
CAME = [
    {"pillar": "police", "sex": "male", "count": 1, "officers": 1},
    {"pillar": "women", "sex": "female", "count": 6},
]
APPLY = {
    "done": "Lampu dipasang",
    "strategies": ["partnership"],
    "partners": ["officer"],
    "since": "2026-03-03",
    "until": "2026-03-10",
}
ASSESS = {"as_planned": True, "effective": True, "before": 6, "after": 0}


def spellings(text: str) -> dict[str, bytes]:
    """How a text may stand somewhere: as it is, in hex, and in base64, at each of three places within a longer text."""
    clear = text.encode()
    found = {"clear": clear, "hex": clear.hex().encode(), "HEX": clear.hex().upper().encode()}
    for shift in range(3):
        inner = base64.b64encode(b"\0" * shift + clear + b"\0\0\0")
        first = -(-shift * 8 // 6)
        found[f"base64 at {shift}"] = inner[first : (shift + len(clear)) * 8 // 6]
    return found


def found_in(data: bytes, texts: tuple[str, ...]) -> set[str]:
    return {f"{text} ({how})" for text in texts for how, spelt in spellings(text).items() if spelt in data}


def test_a_text_is_found_however_it_is_spelt() -> None:
    for before in ("", "x", "xy", "xyz"):
        text = f"{before}{SECRET}!".encode()
        for spelt in (text, base64.b64encode(text), base64.urlsafe_b64encode(text), text.hex().encode()):
            assert found_in(b"..." + spelt + b"...", (SECRET,))
    assert not found_in(b"kenari gelap", (SECRET,))


class Ingress:
    """Somebody who tells the region secrets, in every way there is, and keeps what it answers to errors."""

    def __init__(self, region: RunningRegion) -> None:
        self.region = region
        self.errors: list[bytes] = []

    def post(self, service: str, path: str, body: Any) -> dict[str, Any]:
        answer = httpx.post(self.region.url(service) + path, json=body, timeout=20)
        assert answer.is_success, f"{path}: {answer.text}"
        said: dict[str, Any] = answer.json() if answer.content else {}
        return said

    def refused(self, service: str, path: str, body: Any, **headers: str) -> None:
        """Asks for what cannot be; a string is sent as it is."""
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        told = {"content-type": "application/json", **headers}
        answer = httpx.post(self.region.url(service) + path, content=content, headers=told, timeout=20)
        assert answer.is_error, f"{path} {body}"
        self.errors.append(answer.content + repr(answer.headers).encode())

    def read(self, service: str, path: str, **params: Any) -> Any:
        return httpx.get(self.region.url(service) + path, params=params, timeout=20).raise_for_status().json()


def a_problems_life(ask: Ingress) -> str:
    """From the report to its closing and back, each step with a note in confidence; the problem."""
    problem = ask.post("reports", "/v1/problems", REPORT)["id"]
    path = f"/v1/problems/{problem}"
    sides = {side: f"{SECRET} {side}" for side in ("victims", "offenders", "place")}
    for action, body in (
        ("verify", {"note": f"{SECRET} verify"}),
        ("analyse", {"root_cause": "Gang gelap"} | sides),
        ("prioritise", {"impact": 4, "urgency": 4, "reach": 3}),
    ):
        position = ask.post("reports", f"{path}/{action}", body)["position"]
    forum = ask.post("forums", "/v1/forums", {"area": VILLAGE, "model": "wilayah", "name": "FKPM"})["id"]
    member = {"pillar": "youth", "role": "member", "sex": "female", "name": f"{SECRET} anggota"}
    joined = ask.post("forums", f"/v1/forums/{forum}/members", member)["member_id"]
    ask.read("forums", f"/v1/forums/{forum}/agenda-candidates", at_least=position)
    plan = {"forum_id": forum, "at": "2026-03-02T19:00:00+07:00", "place": "Balai", "agenda": [problem]}
    meeting = f"/v1/meetings/{ask.post('forums', '/v1/meetings', plan)['id']}"
    ask.post("forums", f"{meeting}/attendance", {"attendance": CAME})
    agreed = {"problem_id": problem, "proposal": f"{PUBLIC} usul", "strategies": ["partnership"]}
    promises = [{"who": "youth", "what": f"{PUBLIC} janji", "by": "2026-04-01"} for _ in range(2)]
    held = {"agreements": [agreed], "promises": promises, "minutes": f"{SECRET} notulen"}
    ask.post("forums", f"{meeting}/hold", held)

    def promised() -> list[str]:
        made = [one["id"] for one in ask.read("forums", "/v1/commitments", forum_id=forum)["items"]]
        assert len(made) == 2
        assert ask.read("reports", path)["status"] == "solution_proposed"
        return made

    kept, missed = eventually(promised)
    ask.post("forums", f"/v1/commitments/{kept}/keep", {"note": f"{SECRET} ditepati"})
    ask.post("forums", f"/v1/commitments/{missed}/miss", {"reason": "no_time", "note": f"{SECRET} terlewat"})
    for action, body in (
        ("apply-solution", APPLY),
        ("assess", ASSESS | {"note": f"{SECRET} nilai"}),
        ("close", {"note": f"{SECRET} tutup"}),
        ("reopen", {"reason": f"{SECRET} lagi"}),
    ):
        ask.post("reports", f"{path}/{action}", body)
    for service, where, field in (
        ("reports", path, "reporter"),
        ("forums", f"/v1/forums/{forum}/members/{joined}", "name"),
        ("forums", meeting, "minutes"),
    ):
        opening = {"fields": [field], "reason": "Pemeriksaan", "by": "officer:1"}
        assert SECRET in json.dumps(ask.post(service, f"{where}/open", opening))
    return str(problem)


def subscribers(ask: Ingress, mailbox: Mailbox, sink: Sink) -> None:
    """By e-mail and by webhook, confirmed and told; a mail is refused, webhooks fail, a name does not resolve."""
    mailbox.answers.append(f"451 no room for {SECRET}.mail@example.org")
    webhook = f"{sink.url}/{SECRET}-webhook"
    sink.status[f"/{SECRET}-fails"] = 500
    wishes = {
        f"{SECRET}.mail@example.org": "email",
        webhook: "webhook",
        f"{sink.url}/{SECRET}-fails": "webhook",
        f"http://{SECRET}.{'x' * 63}.invalid/": "webhook",
        f"http://127.0.0.1:1/{SECRET}": "webhook",
    }
    made = {}
    for contact, channel in wishes.items():
        wish = {"area": VILLAGE, "channel": channel, "contact": contact}
        made[contact] = ask.post("notifications", "/v1/subscriptions", wish)["id"]
    code = eventually(lambda: only(sink.at(f"/{SECRET}-webhook", "subscription.confirm")).json["data"]["code"])
    codes = {webhook: code, f"{SECRET}.mail@example.org": mailbox.code_for(f"{SECRET}.mail@example.org")}
    for contact, code in codes.items():
        path = f"/v1/subscriptions/{made[contact]}"
        position = ask.post("notifications", f"{path}/confirm", {"code": code})["position"]
        ask.read("notifications", path, at_least=position)
    ask.refused("notifications", f"/v1/subscriptions/{made[webhook]}/confirm", {"code": SECRET})


def refusals(ask: Ingress, problem: str) -> None:
    """Secrets in what is malformed, unknown, of the wrong type, too long, or in a header."""
    reporter = REPORT["reporter"]
    path = f"/v1/problems/{problem}"
    for body in (
        f'{{"description": "{SECRET}", "reporter": {{"name": "{SECRET}", "phone": "{PHONE}"',
        f'"{SECRET}"',
        json.dumps(REPORT) + SECRET,
        REPORT | {"unknown": SECRET},
        REPORT | {"reporter": SECRET},
        REPORT | {"reporter": reporter | {"phone": f"{PHONE} {SECRET}"}},  # type: ignore[operator]
        REPORT | {"reporter": reporter | {"religion": SECRET}},  # type: ignore[operator]
        REPORT | {"location": f"{LAT} {LON}"},
        REPORT | {"location": {"lat": str(LAT), "lon": LON}},
        REPORT | {"description": f"{SECRET}\0"},
        REPORT | {"description": SECRET * 1000},
        REPORT | {"disclosure": SECRET},
        REPORT | {"category": SECRET},
        REPORT | {"category": "unknown_to_all"},
        REPORT | {"area": SECRET},
        REPORT | {"area": "99.99"},
        [SECRET],
    ):
        ask.refused("reports", "/v1/problems", body)
    for headers in (
        {"Idempotency-Key": f"{SECRET} with blanks"},
        {"If-Match": SECRET},
        {"content-type": f"text/{SECRET}"},
    ):
        ask.refused("reports", f"{path}/close", {"note": SECRET}, Authorization=f"Basic {SECRET}", **headers)
    ask.refused("reports", f"{path}/close", {"note": f"{SECRET} too early"}, Cookie=SECRET, Traceparent=SECRET)
    ask.refused("reports", f"/v1/problems/{SECRET}/verify", {})
    ask.refused("reports", f"{path}/open", {"fields": [SECRET], "reason": "Pemeriksaan", "by": "officer:1"})
    ask.refused("reports", f"{path}/open", {"fields": ["reporter"], "reason": "Pemeriksaan", "by": f"{SECRET} Siti"})
    ask.refused("forums", "/v1/forums", {"area": VILLAGE, "model": SECRET, "name": "FKPM"})
    nameless = f"http://{SECRET}.{'x' * 64}.example/"
    for contact in (f"{SECRET}@", f"{SECRET}@example.org\r\nBcc: x@example.org", f"ftp://{SECRET}/", nameless):
        wish = {"area": VILLAGE, "channel": "email", "contact": contact}
        ask.refused("notifications", "/v1/subscriptions", wish)
        ask.refused("notifications", "/v1/subscriptions", wish | {"channel": "webhook"})
    for query in (f"area={SECRET}", f"cursor={SECRET}", f"since={SECRET}", f"status={SECRET}"):
        answer = httpx.get(f"{ask.region.url('reports')}/v1/problems?{query}")
        assert answer.is_error
        ask.errors.append(answer.content)


class Evidence:
    """All that a region keeps or says, by place."""

    def __init__(
        self, region: RunningRegion, ask: Ingress, folder: Path, postgres: Path, nats: Path, collector: Collector
    ) -> None:
        self.region, self.ask, self.folder, self.collector = region, ask, folder, collector
        self.files = {"postgres files": postgres, "nats files": nats}

    def gathered(self) -> Iterator[tuple[str, bytes]]:
        """Pieces of evidence, several of a place."""
        yield from (("errors", body) for body in self.ask.errors)
        for service in SERVICES:
            yield "metrics", httpx.get(f"{self.region.url(service)}/metrics", timeout=20).content
            for format_name in ("ndjson", "parquet"):
                yield format_name, self._export(service, format_name)
        yield from asyncio.run(self._asked())
        yield "traces", self.collector.exported()
        yield "process logs", (self.folder / "processes.log").read_bytes()
        for place, folder in self.files.items():
            for path in folder.rglob("*"):
                if path.is_file():
                    yield place, path.read_bytes()

    def _export(self, service: str, format_name: str) -> bytes:
        """Every byte of an export, the pages of Parquet besides as the values they hold."""
        to = self.folder / f"{service}.{format_name}"
        ran = self.region.run(service, "export", format_name, str(to), "", "", "")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        files = [path for path in to.rglob("*") if path.is_file()]
        values = [str(parquet.read_table(path).to_pylist()) for path in files if path.suffix == ".parquet"]
        return b"".join(path.read_bytes() for path in files) + "".join(values).encode()

    async def _asked(self) -> list[tuple[str, bytes]]:
        """What databases and streams answer, and everything on disk that they had in memory."""
        said: list[tuple[str, bytes]] = []
        broker = await connect(self.region.region.nats_url, "test")
        for service in SERVICES:
            owner = await asyncpg.connect(self.region.region.database(service).owner_url)
            tables = await owner.fetch(
                "select schemaname || '.' || tablename as name, tablename from pg_tables "
                "where schemaname in ('public', 'log')"
            )
            for table in tables:
                place = {"event": "log", "quarantine": "quarantine"}.get(table["tablename"], "read models")
                rows = await owner.fetch(f"select t::text || to_jsonb(t)::text as row from {table['name']} as t")
                said += [(place, row["row"].encode()) for row in rows]
            await owner.close()
            stream = stream_name(self.region.region.name, service)
            last = (await broker.jetstream().stream_info(stream)).state.last_seq
            for sequence in range(1, last + 1):
                held = await broker.jetstream().get_msg(stream, seq=sequence)
                said.append(("stream", f"{held.subject}{held.headers}".encode() + (held.data or b"")))
        await broker.close()
        administrator = await asyncpg.connect(self.region.region.postgres_url)
        await administrator.execute("checkpoint")
        await administrator.close()
        return said


async def altered(region: RunningRegion, sql: str) -> None:
    owner = await asyncpg.connect(region.region.database("reports").owner_url)
    await owner.execute(sql)
    await owner.close()


async def uncompressed(postgres_url: str) -> None:
    """So that whole pages stand in the write-ahead log as they are."""
    administrator = await asyncpg.connect(postgres_url)
    await administrator.execute("alter system set wal_compression = off")
    await administrator.execute("select pg_reload_conf()")
    await administrator.close()


def poisoned(ask: Ingress) -> None:
    """A report that the projection stumbles over: it is in quarantine, with the traceback."""
    asyncio.run(altered(ask.region, f"alter table problem add constraint sound check (title <> '{PUBLIC} racun')"))
    ask.post("reports", "/v1/problems", REPORT | {"title": f"{PUBLIC} racun"})

    def set_aside() -> None:
        assert (ask.region.output and Path(ask.region.output.name).read_text()).count("event quarantined")  # type: ignore[union-attr]

    eventually(set_aside)


def settled(ask: Ingress) -> None:
    """Every delivery is done with."""

    def nothing_waits() -> None:
        told = httpx.get(f"{ask.region.url('notifications')}/metrics").text
        [line] = [line for line in told.splitlines() if line.startswith("rembuk_deliveries_waiting")]
        assert line.endswith(" 0.0")
        assert "DeliverySent" in told

    eventually(nothing_waits, 60)


@pytest.mark.timeout(300)
def test_what_is_sealed_is_in_clear_nowhere(
    own_postgres: Callable[[], Any],
    own_nats: Callable[[], Any],
    smtp: tuple[str, Mailbox],
    sink: Sink,
    collector: Collector,
    tmp_path: Path,
) -> None:
    postgres, nats = own_postgres(), own_nats()
    asyncio.run(uncompressed(postgres.url))
    told = {
        "REMBUK_SMTP_URL": smtp[0],
        "REMBUK_WEBHOOK_PRIVATE": "allow",
        "REMBUK_DELIVERY_ATTEMPTS": "3",
        "REMBUK_DELIVERY_BACKOFF_S": "0.05",
        "REMBUK_DELIVERY_COME_AGAIN_S": "0.05",
        **collector.environment,
    }
    region = RunningRegion(postgres.url, nats.url, SERVICES, told)
    with (tmp_path / "processes.log").open("ab") as region.output:
        try:
            region.prepare()
            region.start_all()
            ask = Ingress(region)
            subscribers(ask, smtp[1], sink)
            problem = a_problems_life(ask)
            refusals(ask, problem)
            ask.post("reports", f"/v1/problems/{ask.post('reports', '/v1/problems', REPORT)['id']}/erase", {})
            poisoned(ask)
            settled(ask)
            secrets: dict[str, set[str]] = {}
            public = set()
            eventually(lambda: only(collector.spans("POST /v1/problems/{id}/erase")), 30)
            for place, piece in Evidence(region, ask, tmp_path, postgres.data, nats.data, collector).gathered():
                if leaked := found_in(piece, (SECRET, *NUMBERS)):
                    secrets.setdefault(place, set()).update(leaked)
                if PUBLIC.encode() in piece:
                    public.add(place)
        finally:
            region.stop_all()
    assert secrets == {}
    assert public >= WITH_PUBLIC
