"""What a problem's events lead to, as every service shows it: the table of docs/events.md, row by row."""

from pathlib import Path

import msgspec
import pytest
from rembuk.contracts.reports import CODEC, ProblemEvent, ReferralDeclined, ReferralEvent, SolutionAssessed
from rembuk.contracts.status import OPEN, Between, Progress, between_after, status_after


def _assessed(effective: bool) -> SolutionAssessed:
    return SolutionAssessed(as_planned=True, effective=effective, before=3, after=3)


def test_an_ineffective_solution_leaves_the_problem_open() -> None:
    assert status_after(_assessed(effective=False)) == "verified"
    assert status_after(_assessed(effective=False)) in OPEN


def test_an_effective_solution_solves_it() -> None:
    assert status_after(_assessed(effective=True)) == "solved"
    assert "solved" not in OPEN


@pytest.mark.parametrize("kind", ProblemEvent.__args__, ids=lambda kind: kind.__name__)
def test_each_event_of_a_problem_has_a_rule(kind: type) -> None:
    file = Path(__file__).parent / "reports" / f"{kind.__name__}.{kind.schema_version}.json"
    sample = CODEC.decode(kind.__name__, kind.schema_version, file.read_bytes())
    assert status_after(sample) in (None, *Progress.__args__)
    if isinstance(sample, ReferralEvent):
        assert between_after(sample) in (None, *Between.__args__)


def test_a_withdrawn_offer_is_no_refusal() -> None:
    declined = ReferralDeclined(origin="jatim", to="jateng", code="withdrawn")
    assert between_after(declined) == "withdrawn"
    assert between_after(msgspec.structs.replace(declined, code="no_capacity")) == "declined"
