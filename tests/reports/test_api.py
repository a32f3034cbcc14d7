"""The HTTP face of reports, asked as a client would, with the real service behind it."""

from collections.abc import Callable

import httpx
import pytest
from rembuk.testing.services import RunningRegion

REPORT = {
    "area": "35.78.08.1004",
    "category": "theft",
    "title": "Motor hilang",
    "description": "Motor hilang di depan rumah, malam hari.",
}


@pytest.fixture(scope="module")
def reports(start_region: Callable[..., RunningRegion]) -> httpx.Client:
    return httpx.Client(base_url=start_region("reports").url("reports"), timeout=10)


def test_a_report_is_accepted_and_can_be_read_at_its_position(reports: httpx.Client) -> None:
    accepted = reports.post("/v1/problems", json=REPORT).raise_for_status().json()
    problem = reports.get(f"/v1/problems/{accepted['id']}", params={"at_least": accepted["position"]})
    assert problem.json()["title"] == "Motor hilang"
    assert problem.headers["etag"] == '"1"'
