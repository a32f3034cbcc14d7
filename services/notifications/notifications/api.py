"""The HTTP face of notifications: a request becomes a command, an outcome becomes an answer.

A subscription's id is made of 122 random bits and is all it takes to confirm (with the code), read and stop it: who
was given it is its owner. No answer tells it to anybody else.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import MediaType, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter, SkipValidation
from rembuk.contracts.notifications import DeliveryRequeued, SubscriptionRequested
from rembuk.events.decider import Refused
from rembuk.events.event import Recorded as RecordedEvent
from rembuk.events.ids import derive_id, event_id
from rembuk.keys.region_key import Tampered
from rembuk.log.event_log import EventLog
from rembuk.log.handling import VersionMismatch, handle
from rembuk.partners.partners import new_secret
from rembuk.sealing.vault import Erased, Vault
from rembuk.web import sealed
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, Recorded, known_area, known_category, recorded
from rembuk.web.problem_details import TooSoon, documented
from rembuk.web.reading import AreaFilter, AtLeast, CategoryFilter, Cursor, Limit, found
from rembuk.web.requests import Id, Intent

from notifications.commands import (
    AskForCode,
    Confirmation,
    ConfirmSubscription,
    Contact,
    Notice,
    Parcel,
    RaiseAlert,
    RequestSubscription,
    SendAgain,
    StopSubscription,
    SubscriptionRequest,
)
from notifications.contacts import BadContact, deliverable
from notifications.domain import ALERT, DELIVERY, SUBSCRIPTION, delivery_id
from notifications.domain.subscription import waits_for_code
from notifications.queries import (
    Alert,
    AlertPage,
    DeliveryPage,
    DeliveryState,
    NotificationQueries,
    Subscription,
)

CODE_DIGITS = 8
STOP_PAGE = """<!doctype html><html lang="id"><meta charset="utf-8"><title>Rembuk</title>
<form method="post"><p>Berhenti menerima pemberitahuan? / Stop these alerts?</p>
<button>Berhenti / Stop</button></form></html>"""
STOPPED_PAGE = """<!doctype html><html lang="id"><meta charset="utf-8"><title>Rembuk</title>
<p>Anda tidak akan menerima pemberitahuan lagi. / You will receive no more alerts.</p></html>"""


Queries = NamedDependency[SkipValidation[NotificationQueries]]


class Subscribed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The subscription waits for its code. `secret` is what a webhook's messages are signed with: it is told here
    alone, and to whoever repeats this request under the same idempotency key while the subscription lasts."""

    id: UUID
    position: int
    secret: str | None = None


class CodeAsked(msgspec.Struct, frozen=True):
    """The code is sent once more, if the subscription waits for one, and as soon as its contact may be sent another."""

    id: UUID


class Raised(msgspec.Struct, frozen=True):
    """The alert is recorded at this position, for so many subscriptions as it then was known to have."""

    id: UUID
    position: int


def routes(log: EventLog, vault: Vault, queries: NotificationQueries, code_pause: Callable[[int], float]) -> list[Any]:
    """Every route of the service but those that all services share. `code_pause` tells for how many seconds
    a subscriber waits who has asked so often for his code."""

    async def contact_of(requested: RecordedEvent[SubscriptionRequested]) -> Contact | None:
        """The opened contact of a subscription; None once it was erased."""
        with suppress(Erased, Tampered):  # sealed anew after an erasure, an old contact does not authenticate
            return _contact(await vault.open(requested.event.contact, requested.id))
        return None

    @post("/v1/subscriptions", summary="Subscribe to an area", responses=documented(400, 413, 415, 422, 503))
    async def subscribe(request: Json, data: JSONBody[SubscriptionRequest]) -> Answer[Subscribed]:
        known_area(data.area)
        try:
            deliverable(data.channel, data.contact)
        except BadContact as rule:
            why = f"not a contact for the channel {data.channel}: {rule}"
            raise Refused("invalid-contact", why, field="contact") from rule
        intent = Intent(request, data)
        subscription_id = derive_id("subscription", intent.key)
        contact = Contact(data.contact, _new_code(), new_secret() if data.channel == "webhook" else "")
        person = vault.new_key(subscription_id)
        to = person.seal(event_id(intent.key), msgspec.json.encode(contact))
        command = RequestSubscription(data.area, data.channel, to, data.categories, data.language)
        outcome = await handle(
            log, SUBSCRIPTION, subscription_id, command, intent.key, intent.metadata, new=True, keys=[person.wrapped]
        )
        secret = contact.secret
        if outcome.repeated:  # what was sealed just now went nowhere; the first one holds
            first = await contact_of((await log.read_stream(subscription_id))[0])
            secret = first.secret if first else ""
        body = Subscribed(subscription_id, outcome.position, secret or None)
        return Answer(body, outcome.version, f"/v1/subscriptions/{subscription_id}")

    @post(
        "/v1/subscriptions/{id:uuid}/confirm",
        status_code=200,
        summary="Confirm by the code that was sent",
        responses=documented(400, 404, 409, 412, 413, 415, 422, 503),
    )
    async def confirm(request: Json, id: Id, data: JSONBody[Confirmation]) -> Answer[Recorded]:
        intent = Intent(request, data, id)
        history = await log.read_stream(id)
        if not history or not isinstance(history[0].event, SubscriptionRequested):
            raise Refused("unknown-subscription")
        contact = await contact_of(history[0])
        right = contact is not None and secrets.compare_digest(contact.code, data.code)
        outcome = await handle(
            log,
            SUBSCRIPTION,
            id,
            ConfirmSubscription(right),
            intent.key,
            intent.metadata,
            expected_version=intent.expected_version,
        )
        if not right:
            raise Refused("wrong-code", field="code")
        return recorded(outcome)

    @post(
        "/v1/subscriptions/{id:uuid}/code",
        status_code=202,
        summary="Have the code sent once more",
        opt={"any_body": True},
        responses=documented(404, 422, 429, 503),
    )
    async def send_code_again(request: Json, id: Id) -> Answer[CodeAsked]:
        """The pause is counted from the subscription's own events, and the answer is the same for one that is confirmed
        or stopped: what else is sent to that contact is told to nobody. The sender keeps the contact's own pause."""
        intent = Intent(request, AskForCode(id), id)
        code = delivery_id(None, id)
        while True:
            history = await log.read_stream(id)
            if not history or not isinstance(requested := history[0].event, SubscriptionRequested):
                raise Refused("unknown-subscription")
            sendings = await log.read_stream(code)
            if any(one.id == event_id(intent.key) for one in sendings):
                break
            state = DELIVERY.fold(one.event for one in sendings)
            asked = [
                one for one in sendings if isinstance(one.event, DeliveryRequeued) and one.event.by == "subscriber"
            ]
            last = (asked or history)[-1 if asked else 0].recorded_at
            passed = (datetime.now(UTC) - last).total_seconds()
            left = code_pause(state.past.asked) - passed
            if left > 0 and passed >= -1:  # of what was asked for by a clock that ran ahead nobody knows when it was
                raise TooSoon(left)
            if not waits_for_code(SUBSCRIPTION.fold(one.event for one in history)):
                break
            command = SendAgain(Parcel(requested.area, id), "subscriber")
            try:
                await handle(log, DELIVERY, code, command, intent.key, intent.metadata, expected_version=len(sendings))
            except VersionMismatch:
                continue  # asked for at the same time: whoever was first has his pause
            break
        return Answer(CodeAsked(id))

    async def stop(request: Json, id: UUID) -> None:
        command = StopSubscription(id)
        intent = Intent(request, command, id)
        await handle(log, SUBSCRIPTION, id, command, intent.key, intent.metadata)
        await vault.erase(id)  # as was recorded: nothing is left to send there, so nobody needs to know where it was

    @delete(
        "/v1/subscriptions/{id:uuid}",
        summary="Stop, and have the contact forgotten",
        responses=documented(404, 409, 422, 503),
    )
    async def stop_subscription(request: Json, id: Id) -> None:
        await stop(request, id)

    @get("/v1/subscriptions/{id:uuid}/stop", include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
    def ask_to_stop(id: Id) -> str:  # noqa: ARG001 - a page that looks the same for every id
        """The page an e-mail links to: mail scanners follow links, so stopping takes a press of its button."""
        return STOP_PAGE

    @post(
        "/v1/subscriptions/{id:uuid}/stop",
        status_code=200,
        include_in_schema=False,
        media_type=MediaType.HTML,
        opt={"any_body": True},
    )
    async def stop_by_mail(request: Json, id: Id) -> str:
        """One click in a mail program (RFC 8058) or on the page: ends whatever would send the same there."""
        for same in (*await queries.telling_the_same(id), id):
            await stop(request, same)
        return STOPPED_PAGE

    @get("/v1/subscriptions/{id:uuid}", summary="One subscription", responses=documented(400, 404, 422, 503))
    async def read_subscription(queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[Subscription]:
        return found(await queries.subscription(id, at_least), "unknown-subscription")

    @post("/v1/alerts", summary="Raise an alert", responses=documented(400, 413, 415, 422, 503))
    async def raise_alert(request: Json, data: JSONBody[Notice]) -> Answer[Raised]:
        known_area(data.area)
        intent = Intent(request, data)
        alert_id = derive_id("alert", intent.key)
        category = data.category or ""
        command = RaiseAlert(
            data.area,
            data.headline,
            data.text,
            await queries.recipients(data.area, category),
            data.severity,
            data.urgency,
            data.certainty,
            category,
            data.about,
        )
        outcome = await handle(log, ALERT, alert_id, command, intent.key, intent.metadata, new=True)
        return Answer(Raised(alert_id, outcome.position), outcome.version, f"/v1/alerts/{alert_id}")

    @get("/v1/alerts", summary="Alerts, newest first", responses=documented(400, 422, 503))
    async def list_alerts(
        queries: Queries,
        area: AreaFilter = None,
        category: CategoryFilter = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        at_least: AtLeast = None,
    ) -> Answer[AlertPage]:
        known_area(area)
        known_category(category)
        return Answer(await queries.alerts(area=area, category=category, cursor=cursor, limit=limit, at_least=at_least))

    @get("/v1/alerts/{id:uuid}", summary="One alert", responses=documented(400, 404, 422, 503))
    async def read_alert(queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[Alert]:
        return found(await queries.alert(id, at_least), "unknown-alert")

    @get("/v1/alerts/{id:uuid}/deliveries", summary="What became of it", responses=documented(400, 404, 422, 503))
    async def list_deliveries(
        queries: Queries,
        id: Id,
        in_state: Annotated[DeliveryState | None, QueryParameter(name="state")] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
        at_least: AtLeast = None,
    ) -> Answer[DeliveryPage]:
        page = await queries.deliveries(id, state=in_state, cursor=cursor, limit=limit, at_least=at_least)
        if page is None:
            raise Refused("unknown-alert")
        return Answer(page)

    return [
        subscribe,
        confirm,
        send_code_again,
        stop_subscription,
        ask_to_stop,
        stop_by_mail,
        read_subscription,
        raise_alert,
        list_alerts,
        read_alert,
        list_deliveries,
        sealed.opening(
            log,
            vault,
            "/v1/subscriptions/{id:uuid}",
            (SubscriptionRequested,),
            {"contact": lambda contact: _contact(contact).to},
        ),
    ]


_contact = msgspec.json.Decoder(Contact).decode


def _new_code() -> str:
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
