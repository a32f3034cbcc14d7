"""One story of Polmas, from a dark alley in Surabaya to a closed problem, told through the public APIs alone."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import httpx
from rembuk.areas.lookup import areas

from rembuk_cli.demo.sink import DemoReceivers, Hook, Mail
from rembuk_cli.demo.watching import DemoWatch
from rembuk_cli.terminal.writing import out

DISTRICT = "35.78.08"
VILLAGE = "35.78.08.1004"
RESIDENT = "warga@example.org"
WIB = timezone(timedelta(hours=7))

REPORT = {
    "area": VILLAGE,
    "category": "motor_vehicle_theft",
    "title": "Motor hilang di gang yang lampunya mati",
    "description": "Dua motor hilang dalam sepekan di gang belakang pasar. Lampu jalan mati sejak bulan lalu dan pos "
    "kamling kosong. Kejadian terakhir Sabtu malam sekitar pukul 23.40.",
    "disclosure": "public",
    "reporter": {"name": "Ibu Sari", "phone": "+62 800 1234 0567"},
}
CAUSE = "Gang gelap dengan dua jalan keluar, parkir tanpa kunci ganda, dan ronda sudah lama berhenti."
PROPOSAL = "Perbaiki lampu bersama kelurahan, hidupkan ronda bergilir, tutup portal gang pukul 23.00."
STRATEGIES = ["partnership", "self_reliant_security", "dialogic_patrol"]
MEMBERS = [
    ("residents", "chair", "female", "Ibu Ratna"),
    ("education", "secretary", "male", "Pak Yusuf"),
    ("police", "officer", "male", "Aiptu Hendra"),
    ("government", "member", "female", "Ibu Lurah Dewi"),
    ("religious", "member", "male", "Pak Slamet"),
    ("adat", "member", "male", "Pak Joko"),
    ("youth", "member", "female", "Indah"),
    ("women", "member", "female", "Ibu Wati"),
    ("business", "member", "male", "Pak Rudi"),
    ("security_self_help", "member", "male", "Pak Agus"),
]
ATTENDANCE = [
    {"pillar": "residents", "sex": "female", "count": 4},
    {"pillar": "residents", "sex": "male", "count": 3},
    {"pillar": "police", "sex": "male", "count": 1, "officers": 1},
    {"pillar": "government", "sex": "female", "count": 1},
    {"pillar": "youth", "sex": "female", "count": 2},
    {"pillar": "business", "sex": "male", "count": 1},
    {"pillar": "security_self_help", "sex": "male", "count": 2},
]


class Story:
    """Asks the services and waits until what follows was seen. Every run is a new one, under ids of its own."""

    def __init__(self, urls: dict[str, str], watch: DemoWatch, sink: DemoReceivers | None) -> None:
        self._urls, self._watch, self._sink = urls, watch, sink
        self._client = httpx.AsyncClient(timeout=30, trust_env=False)
        self._today = datetime.now(WIB).date()
        self._subscriptions: list[str] = []
        self._heard = 1  # the code

    async def play(self) -> None:
        """Raises httpx.HTTPStatusError, httpx.TransportError, NotSeen."""
        async with self._client:
            if self._sink is not None:
                await self._resident_subscribes()
                await self._partner_subscribes(self._sink)
            problem = await self._resident_reports()
            position = await self._officer_works_on(problem)
            meeting = await self._forum_invites(problem, position)
            await self._forum_meets(meeting, problem)
            await self._act_together(problem)
            await self._look_back(problem)
            for subscription in self._subscriptions:
                await self._stop(subscription)

    async def _resident_subscribes(self) -> None:
        _chapter(f"A resident wants to be told what happens in {areas().full_name(VILLAGE)}, by e-mail")
        body = {"area": VILLAGE, "channel": "email", "contact": RESIDENT, "language": "id"}
        subscription = (await self._post("notifications", "/v1/subscriptions", body))["id"]
        mail = await self._watch.message("the e-mail with the code", lambda one: isinstance(one, Mail))
        assert isinstance(mail, Mail)
        code = re.search(r"\b\d{8}\b", mail.text)
        await self._confirm(subscription, code[0] if code else "")

    async def _partner_subscribes(self, sink: DemoReceivers) -> None:
        _chapter(f"A partner's system subscribes to {areas().full_name(DISTRICT)}, by webhook")
        body = {"area": DISTRICT, "channel": "webhook", "contact": sink.hook_url, "language": "en"}
        answer = await self._post("notifications", "/v1/subscriptions", body)
        sink.secret = answer["secret"]
        hook = await self._watch.message("the call with the code", lambda one: _confirms(one, answer["id"]))
        assert isinstance(hook, Hook)
        await self._confirm(answer["id"], hook.data["code"])

    async def _resident_reports(self) -> str:
        _chapter("A resident reports a problem; the name is sealed before it is recorded")
        problem = await self._post("reports", "/v1/problems", REPORT)
        if self._sink is not None:
            await self._told("a new report")
        return str(problem["id"])

    async def _officer_works_on(self, problem: str) -> int:
        """The position of reports' log after it."""
        _chapter("The village officer looks, asks why it happens and how pressing it is")
        await self._act(problem, "verify", {"note": "Ditinjau bersama ketua RT; lampu memang mati dan pos kosong."})
        analysis = {"root_cause": CAUSE, "victims": "penghuni rumah kos", "place": "gang belakang pasar"}
        await self._act(problem, "analyse", analysis)
        return await self._act(problem, "prioritise", {"impact": 4, "urgency": 4, "reach": 3})

    async def _forum_invites(self, problem: str, heard: int) -> str:
        """The meeting's id. A forum draws its agenda from what it has `heard` of reports, up to that position."""
        _chapter("Police and community found their forum and put the problem on its agenda")
        founding = {"area": VILLAGE, "model": "wilayah", "name": "FKPM Kertajaya", "hall": "Balai RW 05"}
        forum = (await self._post("forums", "/v1/forums", founding))["id"]
        for pillar, role, sex, name in MEMBERS:
            member = {"pillar": pillar, "role": role, "sex": sex, "name": name}
            await self._post("forums", f"/v1/forums/{forum}/members", member)
        at = datetime.now(WIB).replace(hour=19, minute=30, second=0, microsecond=0)
        candidates = f"{self._urls['forums']}/v1/forums/{forum}/agenda-candidates"
        (await self._client.get(candidates, params={"at_least": heard})).raise_for_status()
        plan = {"forum_id": forum, "at": at.isoformat(), "place": "Balai RW 05", "agenda": [problem]}
        return str((await self._post("forums", "/v1/meetings", plan))["id"])

    async def _forum_meets(self, meeting: str, problem: str) -> None:
        _chapter("The forum meets, agrees on a solution, and promises are made; reports proposes it by itself")
        await self._post("forums", f"/v1/meetings/{meeting}/attendance", {"attendance": ATTENDANCE})
        agreement = {"problem_id": problem, "proposal": PROPOSAL, "strategies": STRATEGIES, "root_cause": CAUSE}
        soon = (self._today + timedelta(days=14)).isoformat()
        promises = [
            {"who": "government", "what": "Memperbaiki enam lampu jalan di gang belakang pasar.", "by": soon},
            {"who": "residents", "what": "Menyusun dan menjalankan jadwal ronda bergilir.", "by": soon},
        ]
        minutes = "Musyawarah dibuka ketua forum; semua sepakat bahwa gang gelap adalah akar masalahnya."
        held = {"agreements": [agreement], "promises": promises, "minutes": minutes}
        await self._post("forums", f"/v1/meetings/{meeting}/hold", held)
        await self._watch.event("SolutionProposed", problem)
        made = await self._watch.event("CommitmentMade")
        if self._sink is not None:
            await self._told("a forum that met")
        note = {"note": "Enam lampu menyala, diperiksa warga dan petugas."}
        await self._post("forums", f"/v1/commitments/{made.recorded.stream_id}/keep", note)

    async def _act_together(self, problem: str) -> None:
        _chapter("They do it, together and with an officer, as a crime demands")
        body = {
            "done": "Enam lampu diperbaiki, ronda berjalan tiap malam, portal ditutup pukul 23.00.",
            "strategies": STRATEGIES,
            "partners": ["officer", "forum", "residents", "government"],
            "pillars": ["police", "residents", "government", "youth", "security_self_help"],
            "since": (self._today - timedelta(days=30)).isoformat(),
            "until": self._today.isoformat(),
        }
        await self._act(problem, "apply-solution", body)
        if self._sink is not None:
            await self._told("an applied solution")

    async def _look_back(self, problem: str) -> None:
        _chapter("Did it work? Only what was assessed can be closed")
        note = "Tidak ada kehilangan selama masa pemantauan."
        assessment = {"as_planned": True, "effective": True, "before": 5, "after": 0, "note": note}
        await self._act(problem, "assess", assessment)
        await self._act(problem, "close", {"note": "Hasilnya disampaikan kepada warga di balai RW."})

    async def _confirm(self, subscription: str, code: str) -> None:
        self._subscriptions.append(subscription)
        answer = await self._post("notifications", f"/v1/subscriptions/{subscription}/confirm", {"code": code})
        url = f"{self._urls['notifications']}/v1/subscriptions/{subscription}"
        (await self._client.get(url, params={"at_least": answer["position"]})).raise_for_status()

    async def _stop(self, subscription: str) -> None:
        if subscription == self._subscriptions[0]:
            _chapter("Enough: both subscriptions are stopped, and their contacts forgotten")
        url = f"{self._urls['notifications']}/v1/subscriptions/{subscription}"
        (await self._client.delete(url)).raise_for_status()
        await self._watch.event("SubscriptionStopped", subscription)

    async def _told(self, what: str) -> None:
        """Wait until both subscribers have heard of it too."""
        self._heard += 1
        await self._watch.heard(self._heard, what)

    async def _act(self, problem: str, action: str, body: dict[str, Any]) -> int:
        """The position at which it was recorded."""
        return int((await self._post("reports", f"/v1/problems/{problem}/{action}", body))["position"])

    async def _post(self, service: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask, and wait until what came of it was seen on NATS."""
        key = {"Idempotency-Key": str(uuid4())}
        response = await self._client.post(self._urls[service] + path, json=body, headers=key)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        await self._watch.reached(service, answer["position"])
        return answer


def _confirms(message: Mail | Hook, subscription: str) -> bool:
    return isinstance(message, Hook) and message.data.get("subscription_id") == subscription and "code" in message.data


def _chapter(text: str) -> None:
    out.print(f"\n[bold]{text}[/]")
