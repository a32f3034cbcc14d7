"""What did not get through is sent when somebody asks for it: by an operator what was given up, by a subscriber his
code. Each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from notifications.delivery import expiry
from notifications.delivery.expiry import Expiry
from rembuk.contracts.notifications import CODEC
from rembuk.flow.sweeping import sweep_until_cancelled
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.postgres.database import KeptConnection
from rembuk.process.cancelling import cancel
from rembuk.sealing.vault import Vault
from rembuk.settings import BadSetting, RetentionSettings, read_settings
from rembuk.testing.receivers import digits, only
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import House

NOTICE = {"headline": {"id": "Awas banjir"}, "text": {"id": "Air naik."}}
AWAY = ["451 4.3.0 away"] * 4
"""As often as `house` tries."""


@pytest.fixture(scope="module")
def house(new_house: Callable[..., House]) -> House:
    """One that lets a code be asked for again after a second, and is known by another name outside."""
    public = "https://rembuk.example/"
    return new_house("notifications", REMBUK_CODE_PAUSE_S="1", REMBUK_NOTIFICATIONS_PUBLIC_URL=public)


def test_what_was_given_up_is_sent_once_when_an_operator_asks(house: House) -> None:
    contact = "asked-again@example.org"
    house.confirmed(contact, area="35.10")
    house.mailbox.answers += AWAY
    delivery = _given_up(house, _alert(house, "35.10"))
    with ThreadPoolExecutor(2) as operators:
        said = list(operators.map(lambda _: errand(house, delivery["id"]), range(2)))
    assert f'"delivery":"{delivery["id"]}"' in said[0][1] + said[1][1]
    eventually(lambda: _is(len(house.mailbox.to(contact)), 2))
    eventually(lambda: _is(house.http.get(f"/v1/alerts/{delivery['alert']}/deliveries").json()["states"], {"sent": 1}))
    assert errand(house, delivery["id"]) == (
        2, f"delivery {delivery['id']} is sent, and only what is given up is retried\n",
    )  # fmt: skip
    unknown = str(uuid4())
    assert errand(house, unknown) == (2, f"there is no delivery {unknown}\n")
    asked = [one for one in _events(house) if one["type"] == "DeliveryRequeued" and one["subject"] == delivery["id"]]
    assert [one["data"]["by"] for one in asked] == ["operator"]
    [seen] = house.http.get(f"/v1/alerts/{delivery['alert']}/deliveries").json()["items"]
    assert (seen["state"], seen["attempts"]) == ("sent", 5)
    assert len(house.mailbox.to(contact)) == 2


def test_all_that_was_given_up_is_asked_for_but_for_what_nobody_wants_any_more(house: House) -> None:
    wanted, unwanted = "wanted@example.org", "unwanted@example.org"
    house.confirmed(wanted, area="35.11")
    stops = house.confirmed(unwanted, area="35.12")
    for area in ("35.11", "35.12"):
        house.mailbox.answers += AWAY
        _given_up(house, _alert(house, area))
    stopped = house.http.delete(f"/v1/subscriptions/{stops.id}")
    assert stopped.status_code == 204
    eventually(lambda: _is(house.http.get(f"/v1/subscriptions/{stops.id}").json()["status"], "stopped"))
    assert errand(house, "given-up", "HTTP") == (0, "")
    status, said = errand(house, "given-up", "SMTP 451")
    assert (status, said.count("position")) == (0, 1)
    eventually(lambda: _is(len(house.mailbox.to(wanted)), 2))
    assert errand(house, "given-up", "") == (0, "")
    assert len(house.mailbox.to(unwanted)) == 1


def test_a_suspended_contact_is_tried_once_when_an_operator_asks(house: House) -> None:
    contact = "suspended@example.org"
    house.confirmed(contact, area="35.13")
    house.mailbox.refuses[contact] = "550 5.1.1 no such mailbox"
    deliveries = [_given_up(house, _alert(house, "35.13")) for _ in range(2)]
    tried = house.mailbox.asked.count(contact)
    errand(house, deliveries[1]["id"])
    eventually(lambda: _is(house.mailbox.asked.count(contact), tried + 1))
    _given_up(house, deliveries[1]["alert"])
    del house.mailbox.refuses[contact]
    errand(house, deliveries[1]["id"])
    eventually(lambda: _is(len(house.mailbox.to(contact)), 2))
    _alert(house, "35.13")
    eventually(lambda: _is(len(house.mailbox.to(contact)), 3))


def test_a_code_that_was_given_up_can_be_had(house: House) -> None:
    house.mailbox.answers += AWAY
    path = f"/v1/subscriptions/{house.subscribe('no-code@example.org')['id']}"
    eventually(lambda: _is(house.http.get(path).json().get("code_delivery"), "given_up"))
    eventually(lambda: _is(house.http.post(f"{path}/code").status_code, 202))
    code = house.mailbox.code_for("no-code@example.org")
    [mail] = house.mailbox.to("no-code@example.org")
    assert mail["List-Unsubscribe"] == f"<https://rembuk.example{path}/stop>"
    assert house.http.post(f"{path}/confirm", json={"code": code}).status_code == 200


def test_a_code_is_sent_again_once_a_pause_and_nothing_tells_what_else_its_contact_is_sent(house: House) -> None:
    contact = "code-again@example.org"
    path = f"/v1/subscriptions/{house.subscribe(contact)['id']}"
    early = house.http.post(f"{path}/code")
    assert (early.status_code, early.json()["type"]) == (429, "/problems/too-soon")
    assert int(early.headers["retry-after"]) == 1
    house.mailbox.code_for(contact)
    key = {"Idempotency-Key": str(uuid4())}
    first = eventually(lambda: _accepted(house.http.post(f"{path}/code", headers=key)))
    assert house.http.post(f"{path}/code", headers=key).json() == first
    eventually(lambda: _is(len(house.mailbox.to(contact)), 2))
    with ThreadPoolExecutor(20) as crowd:
        statuses = [answer.status_code for answer in crowd.map(lambda _: house.http.post(f"{path}/code"), range(20))]
    assert statuses == [429] * 20

    def all_at_once() -> None:
        with ThreadPoolExecutor(20) as crowd:
            answers = list(crowd.map(lambda _: house.http.post(f"{path}/code").status_code, range(20)))
        assert 202 in answers

    eventually(all_at_once)
    mails = eventually(lambda: _so_many(house.mailbox.to(contact), 3))
    assert len({mail["Message-ID"] for mail in mails}) == 3  # lest a mailbox takes one for a copy of another
    code = only(list({digits(mail.get_content()) for mail in mails}))
    house.http.post(f"{path}/confirm", json={"code": code}).raise_for_status()
    assert house.http.post(f"{path}/code").status_code == 429  # as for one that waits
    assert house.http.post(f"/v1/subscriptions/{uuid4()}/code").status_code == 404
    assert len(house.mailbox.to(contact)) == 3


def test_what_nobody_confirms_ends_after_some_days_in_small_batches_and_its_contact_is_erased(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "BATCH", 3)
    kept = house.confirmed("confirmed-in-time@example.org", area="35.16")
    eventually(lambda: _is(sweep(house, timedelta(days=8)), 0))  # what other tests have left
    late = [house.subscribe(f"late-{n}@example.org", area="35.16")["id"] for n in range(5)]
    eventually(lambda: _is(len(_unconfirmed(house)), 5))
    assert sweep(house, timedelta(days=6)) == 0
    assert sweep(house, timedelta(days=8)) == 3
    eventually(lambda: _is(len(_unconfirmed(house)), 2))
    assert sweep(house, timedelta(days=8)) == 2
    eventually(lambda: _is(_unconfirmed(house), []))
    shown = [house.http.get(f"/v1/subscriptions/{id}").json()["status"] for id in (*late, kept.id)]
    assert shown == ["stopped"] * 5 + ["confirmed"]
    [keys] = house.region.ask("notifications", "select count(*) from vault_key where person = any($1)", late)
    assert keys["count"] == 0
    [ended] = [
        one["data"] for one in _events(house) if one["type"] == "SubscriptionStopped" and one["subject"] == late[0]
    ]
    assert ended == {"reason": "expired"}


def sweep(house: House, later: timedelta) -> int:
    """What the worker does each hour, as if so much time had passed; how many subscriptions were due."""

    async def swept() -> int:
        url = house.region.region.database("notifications").service_url
        log, vault = EventLog(url, CODEC), Vault(url, RegionKeys(()))
        await log.start()
        await vault.start()
        try:
            return await Expiry(url, log, vault, 7, lambda: datetime.now(UTC) + later).sweep()
        finally:
            await vault.stop()
            await log.stop()

    return asyncio.run(swept())


def _unconfirmed(house: House) -> list[Any]:
    return house.region.ask("notifications", "select id from subscription where status = 'requested'")


async def test_a_sweep_that_its_database_cut_off_is_made_again_at_once_and_not_after_an_hour(postgres_url: str) -> None:
    connection, begun, swept = KeptConnection(postgres_url, "sweep"), asyncio.Event(), asyncio.Event()

    async def sweep() -> int:
        database = await connection.get()
        if not begun.is_set():
            begun.set()
            await database.execute("select pg_terminate_backend(pg_backend_pid())")
        swept.set()
        return 0

    sweeping = asyncio.create_task(sweep_until_cancelled("sweep", connection, sweep, 100))
    try:
        await asyncio.wait_for(swept.wait(), 30)
    finally:
        await cancel([sweeping])


def test_the_days_until_an_unconfirmed_subscription_ends_are_told_by_the_environment() -> None:
    assert (
        read_settings(RetentionSettings, {}).unconfirmed_days
        == read_settings(RetentionSettings, {"REMBUK_UNCONFIRMED_DAYS": ""}).unconfirmed_days
        == 7
    )
    assert read_settings(RetentionSettings, {"REMBUK_UNCONFIRMED_DAYS": "30"}).unconfirmed_days == 30
    for nonsense in ("0", "-1", "soon", "1.5", "999999"):
        with pytest.raises(BadSetting, match="REMBUK_UNCONFIRMED_DAYS"):
            read_settings(RetentionSettings, {"REMBUK_UNCONFIRMED_DAYS": nonsense})


def errand(house: House, *arguments: str) -> tuple[int, str]:
    """What `rembuk deliveries retry` has the service do: how it ends, and what it says."""
    ended = house.region.run("notifications", "requeue", *arguments)
    return ended.returncode, ended.stdout + ended.stderr


def _alert(house: House, area: str) -> str:
    raised = house.http.post("/v1/alerts", json=NOTICE | {"area": area}).raise_for_status().json()
    return str(raised["id"])


def _given_up(house: House, alert_id: str) -> dict[str, Any]:
    """The one delivery of an alert, once it is given up."""

    def given_up() -> dict[str, Any]:
        one: dict[str, Any] = only(house.http.get(f"/v1/alerts/{alert_id}/deliveries").json().get("items", []))
        assert one["state"] == "given_up"
        return one | {"alert": alert_id}

    return eventually(given_up)


def _events(house: House) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = house.http.get("/v1/events", params={"limit": 500}).json()
    return events


def _accepted(answer: httpx.Response) -> Any:
    assert answer.status_code == 202
    return answer.json()


def _so_many(things: list[Any], many: int) -> list[Any]:
    assert len(things) == many
    return things


def _is(actual: Any, expected: Any) -> None:
    assert actual == expected
