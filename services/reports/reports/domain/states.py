"""How a problem can stand: the life it has at home, and what becomes of it between two regions."""

from __future__ import annotations

from typing import assert_never

import msgspec
from rembuk.contracts.categories import may_be_crime
from rembuk.contracts.polmas import Disclosed
from rembuk.events.decider import Refused


class Unreported(msgspec.Struct, frozen=True):
    """Nobody has told us."""


class ProblemFacts(msgspec.Struct, frozen=True):
    """What a problem stays, whatever becomes of it. `origin` is the region that it came from, `asked` the one that it
    was offered to and that has not answered yet, though that be withdrawn; "" for none."""

    area: str
    category: str
    disclosure: Disclosed
    origin: str = ""
    asked: str = ""

    @property
    def crime(self) -> bool:
        return may_be_crime(self.category)


class Unverified(msgspec.Struct, frozen=True):
    """Told, not yet looked at."""

    problem: ProblemFacts


class Open(msgspec.Struct, frozen=True):
    """Found to be so; being analysed, prioritised, deliberated. `proposed` once there is a solution to apply."""

    problem: ProblemFacts
    proposed: bool = False


class Applied(msgspec.Struct, frozen=True):
    """A solution was applied and is not assessed yet: never "done"."""

    problem: ProblemFacts


class Solved(msgspec.Struct, frozen=True):
    """The applied solution was assessed as effective."""

    problem: ProblemFacts


class Closed(msgspec.Struct, frozen=True):
    """Solved, and put away."""

    problem: ProblemFacts


class Rejected(msgspec.Struct, frozen=True):
    """Not taken up."""

    problem: ProblemFacts


class Referred(msgspec.Struct, frozen=True):
    """Offered by this region, `here`, to another one, whose answer is awaited; `proposed` as before."""

    problem: ProblemFacts
    here: str
    proposed: bool


class HandedOver(msgspec.Struct, frozen=True):
    """It lives in the region `to`."""

    problem: ProblemFacts
    to: str


class Offered(msgspec.Struct, frozen=True):
    """Another region offers it to this one, `here`, and awaits our answer."""

    problem: ProblemFacts
    here: str


class Declined(msgspec.Struct, frozen=True):
    """It was offered to us and is not ours: declined, or withdrawn."""

    problem: ProblemFacts


AtHome = Unverified | Open | Applied | Solved | Closed | Rejected
State = Unreported | AtHome | Referred | HandedOver | Offered | Declined


def at_home(state: State) -> AtHome:
    """The state of a problem that this region may work on; refuses with the reason why it may not."""
    match state:
        case Unverified() | Open() | Applied() | Solved() | Closed() | Rejected():
            return state
        case Unreported():
            raise Refused("unknown-problem")
        case Referred():
            raise Refused("referred", f"{state.problem.asked} is to answer first; or withdraw the referral")
        case HandedOver():
            raise Refused("handed-over", f"the problem lives in {state.to} now")
        case Offered():
            raise Refused("not-accepted", f"{state.problem.origin} offers the problem; accept it first")
        case Declined():
            raise Refused("not-ours", f"the problem was left to {state.problem.origin}")
        case _:
            assert_never(state)


def as_open(state: State) -> Open:
    """The state as an open problem; refuses with the reason why it is none."""
    match at_home(state):
        case Open() as found:
            return found
        case Unverified():
            raise Refused("not-verified")
        case Rejected():
            raise Refused("already-rejected")
        case Applied():
            raise Refused("already-applied", "a solution was applied; assess it first")
        case Solved() | Closed():
            raise Refused("already-solved")
        case other:
            assert_never(other)
