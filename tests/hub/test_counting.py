"""A problem that one region refers to another, as the nation counts it: once, where it lives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from rembuk.contracts.reports import (
    Decline,
    ProblemClosed,
    ProblemHandedOver,
    ProblemReferred,
    ProblemReported,
    ProblemVerified,
    ReferralAccepted,
    ReferralDeclined,
    ReferralOffered,
    ReferralReturned,
    ReferralWithdrawn,
    SolutionProposed,
)
from rembuk.events.event import Event
from rembuk.testing.services import eventually

from tests.hub.conftest import Hub

AREA, CATEGORY, NOW = "11.01.01.2001", "livestock_theft", datetime(2026, 3, 2, tzinfo=UTC)
REPORTED = ProblemReported(AREA, CATEGORY, "Sapi hilang", "sealed:v1:x", "public")
PROPOSED = SolutionProposed("Ronda malam", ("partnership",))


class Nation:
    """Two regions, one problem, and what the hub makes of it."""

    def __init__(self, hub: Hub, origin: str, receiver: str) -> None:
        self.hub, self.problem = hub, uuid4()
        self.origin, self.receiver = origin, receiver

    @classmethod
    async def of(cls, hub: Hub) -> Nation:
        """Its streams are there when the hub first looks: a mirror of none is tried again after ten seconds."""
        names = hub.admitted(), hub.admitted()
        for name in names:
            async with hub.federation.at_region(name):
                pass
        return cls(hub, *names)

    async def told(self, region: str, *events: Event) -> None:
        await self.hub.told(region, *((self.problem, event) for event in events))

    def referred(self) -> ProblemReferred:
        return ProblemReferred(self.origin, self.receiver, AREA, CATEGORY, "public", NOW, "hpke:v1:x")

    def offered(self) -> ReferralOffered:
        return ReferralOffered(self.origin, AREA, CATEGORY, "Sapi hilang", "", "public", NOW, to=self.receiver)

    def comes_to(self, *expected: tuple[str, str, int, int]) -> None:
        """Region, status, how many problems, and how many open ones, once both regions' events are shown."""

        def counted() -> None:
            found = [
                (region, one["key"], one["problems"], one["open"])
                for region in (self.origin, self.receiver)
                for one in self.hub.get("/v1/counts", by="status", region=region)
            ]
            assert found == list(expected)

        eventually(counted)

    def listed(self, **asked: Any) -> list[tuple[str, str]]:
        items = self.hub.get("/v1/problems", category=CATEGORY, **asked)["items"]
        return [(one["region"], one["status"]) for one in items if UUID(one["id"]) == self.problem]


async def test_a_problem_is_counted_once_from_offer_to_end(hub: Hub) -> None:
    nation = await Nation.of(hub)
    origin, receiver = nation.origin, nation.receiver
    await nation.told(receiver, nation.offered())
    eventually(lambda: expect(nation.listed(status="offered"), [(receiver, "offered")]))
    nation.comes_to()
    await nation.told(origin, REPORTED, ProblemVerified(), nation.referred())
    nation.comes_to((origin, "referred", 1, 1))
    await nation.told(receiver, ReferralAccepted(origin, receiver))
    nation.comes_to((receiver, "verified", 1, 1))  # though its origin has not heard of it
    await nation.told(origin, ProblemHandedOver(receiver))
    await nation.told(receiver, ProblemClosed())
    nation.comes_to((receiver, "closed", 1, 0))
    eventually(lambda: expect(nation.listed(status="handed_over"), [(origin, "handed_over")]))
    nation.comes_to((receiver, "closed", 1, 0))
    assert nation.listed() == [(receiver, "closed")]
    [closed] = hub.get("/v1/problems", region=receiver)["items"]
    assert datetime.fromisoformat(closed["reported_at"]) == NOW


async def test_a_problem_that_comes_back_is_as_it_was(hub: Hub) -> None:
    nation = await Nation.of(hub)
    origin, receiver = nation.origin, nation.receiver
    await nation.told(origin, REPORTED, ProblemVerified(), PROPOSED)
    answers: list[tuple[Decline, tuple[Event, ...]]] = [
        ("no_capacity", ()),
        ("withdrawn", (ReferralWithdrawn(origin, receiver),)),
    ]
    for code, meanwhile in answers:
        await nation.told(origin, nation.referred())
        await nation.told(receiver, nation.offered())
        nation.comes_to((origin, "referred", 1, 1))
        await nation.told(origin, *meanwhile)
        await nation.told(receiver, ReferralDeclined(origin, receiver, code))
        await nation.told(origin, ReferralReturned(receiver, code))
        nation.comes_to((origin, "solution_proposed", 1, 1))
        there = "withdrawn" if meanwhile else "declined"
        eventually(lambda there=there: expect(nation.listed(status=there), [(receiver, there)]))  # type: ignore[misc]


def expect(found: object, expected: object) -> None:
    assert found == expected
