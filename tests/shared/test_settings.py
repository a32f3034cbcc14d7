"""Settings: what is refused when a process starts, by name and rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from rembuk.operations.settings_page import document
from rembuk.settings import (
    BadSetting,
    DeliverySettings,
    HubSettings,
    MissingSetting,
    PartnerSettings,
    RetentionSettings,
    Settings,
    WitnessSettings,
    described,
    groups,
    handed_on,
    read_settings,
)

TOLD = {"REMBUK_REGION": "jatim", "REMBUK_REPORTS_DATABASE_URL": "postgresql://127.0.0.1/nowhere"}


def test_what_is_not_set_is_as_released() -> None:
    settings = Settings.load("reports", TOLD)
    assert (settings.port, settings.host, settings.nats_url) == (8000, "127.0.0.1", "nats://127.0.0.1:4222")
    assert (settings.delivery, settings.keeping) == (DeliverySettings(8, 1.0, 60.0, 360.0), RetentionSettings(None, 7))
    assert (settings.witnessing, settings.hub) == (WitnessSettings(5.0), HubSettings(stalled_s=45.0))
    assert not settings.partners.private_webhooks
    assert read_settings(PartnerSettings, {"REMBUK_WEBHOOK_PRIVATE": "allow"}).private_webhooks


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("REMBUK_DELIVERY_BACKOFF_S", "nan", "a number from 0 to 3600"),
        ("REMBUK_DELIVERY_BACKOFF_S", "inf", "from 0 to 3600"),
        ("REMBUK_DELIVERY_BACKOFF_S", "-1", "from 0 to 3600"),
        ("REMBUK_DELIVERY_BACKOFF_S", "1_0", "from 0 to 3600"),
        ("REMBUK_DELIVERY_BACKOFF_S", "1.2.3", "from 0 to 3600"),
        ("REMBUK_DELIVERY_ATTEMPTS", "1.5", "a whole number from 1 to 1000"),
        ("REMBUK_TREE_HEAD_SECONDS", "0", "from 0.05 to 86400"),
        ("REMBUK_HUB_STALLED_SECONDS", "soon", "from 0.1"),
        ("REMBUK_WEBHOOK_PRIVATE", "yes", "allow, or empty"),
        ("REMBUK_REPORTS_PORT", "65536", "from 1 to 65535"),
        ("REMBUK_REPORTS_PORT", "٣٣", "from 1 to 65535"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name_and_rule(name: str, text: str, rule: str) -> None:
    with pytest.raises(BadSetting) as refused:
        Settings.load("reports", {**TOLD, name: text})
    assert str(refused.value).startswith(f"{name} is {text!r}, and has to be ")
    assert rule in str(refused.value)
    if "PORT" not in name:
        with pytest.raises(BadSetting, match=name):
            handed_on({name: text})


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(MissingSetting) as refused:
        Settings.load("reports", {"REMBUK_DELIVERY_ATTEMPTS": "many", "REMBUK_REPORTS_PORT": "http"})
    named = [line.split()[0] for line in str(refused.value).splitlines()]
    assert named == [*TOLD, "REMBUK_REPORTS_PORT", "REMBUK_DELIVERY_ATTEMPTS"]


def test_up_hands_on_what_services_read_and_it_does_not_set_itself() -> None:
    told = {"REMBUK_TREE_HEAD_SECONDS": "1", "REMBUK_SMTP_URL": "smtp://mail", "REMBUK_REGION": "x", "PATH": "/bin"}
    assert handed_on(told) == {"REMBUK_TREE_HEAD_SECONDS": "1", "REMBUK_SMTP_URL": "smtp://mail"}


def test_each_setting_is_said_once_and_has_a_sentence() -> None:
    names = [about.name for group in groups()[:-1] for about, _ in described(group)]
    assert len(names) == len(set(names))
    assert all(about.says.endswith(".") for group in groups() for about, _ in described(group))


def test_what_is_not_said_has_its_default_where_there_is_one() -> None:
    for port in ({}, {"REMBUK_REPORTS_PORT": ""}):
        assert Settings.load("reports", {**TOLD, **port}).port == 8000
    for name in TOLD:
        with pytest.raises(MissingSetting, match=f"{name} is not set"):
            Settings.load("reports", {key: value for key, value in TOLD.items() if key != name})


@pytest.mark.parametrize("port", ["x", "0", "-1", "65536", "70000", "80.5", "nan"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(
        BadSetting, match=rf"REMBUK_REPORTS_PORT is '{port}', and has to be a whole number from 1 to 65535"
    ):
        Settings.load("reports", TOLD | {"REMBUK_REPORTS_PORT": port})


def test_the_page_of_settings_is_what_the_typed_module_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text() == document(), "run `make docs`"
