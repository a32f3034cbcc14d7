"""Settings of a service process: what cannot be is refused by the name of the variable and the rule."""

from __future__ import annotations

import pytest
from rembuk.settings import BadSetting, MissingSetting, Settings

LEAST = {"REMBUK_REGION": "jatim", "REMBUK_REPORTS_DATABASE_URL": "postgresql://db/reports"}


def test_what_is_not_said_has_its_default_where_there_is_one() -> None:
    assert (
        Settings.load("reports", LEAST).port
        == Settings.load("reports", LEAST | {"REMBUK_REPORTS_PORT": ""}).port
        == 8000
    )
    for name in LEAST:
        with pytest.raises(MissingSetting, match=f"{name} is not set"):
            Settings.load("reports", {key: value for key, value in LEAST.items() if key != name})


@pytest.mark.parametrize("port", ["x", "0", "-1", "65536", "70000", "80.5", "nan"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(
        BadSetting, match=rf"REMBUK_REPORTS_PORT is '{port}', and has to be a whole number from 1 to 65535"
    ):
        Settings.load("reports", LEAST | {"REMBUK_REPORTS_PORT": port})
