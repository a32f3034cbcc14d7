"""Subscriptions: asked for, confirmed by a code, read, their contact shown.

A subscription's id is made of 122 random bits and is all it takes to confirm (with the code), read and stop it: who
was given it is its owner. No answer tells it to anybody else.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation
from rembuk.contracts.notifications import DeliveryRequeued, SubscriptionRequested
from rembuk.events.decider import Refused
from rembuk.events.event import RecordedEvent as RecordedEvent
from rembuk.events.ids import derive_id, event_id
from rembuk.keys.region_key import Tampered
from rembuk.log.event_log import EventLog
from rembuk.log.handling import VersionMismatch, handle
from rembuk.partners.partners import new_secret
from rembuk.sealing.vault import Erased, Vault
from rembuk.web import sealed
from rembuk.web.answers import Answer
from rembuk.web.commands import Json, Recorded, known_area, recorded
from rembuk.web.problem_details import TooSoon, documented
from rembuk.web.reading import AtLeast, found
from rembuk.web.requests import Id, Intent

from notifications.commands import (
    AskForCode,
    Confirmation,
    ConfirmSubscription,
    Contact,
    Parcel,
    RequestSubscription,
    SendAgain,
    SubscriptionRequest,
)
from notifications.contacts import BadContact, deliverable
from notifications.domain import DELIVERY, SUBSCRIPTION, delivery_id
from notifications.domain.subscription import waits_for_code
from notifications.queries import (
    NotificationQueries,
    Subscription,
)

CODE_DIGITS = 8
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


def routes(log: EventLog, vault: Vault, code_pause: Callable[[int], float]) -> list[Any]:
    """`code_pause` tells for how many seconds a subscriber waits who has asked so often for his code."""

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

    @get("/v1/subscriptions/{id:uuid}", summary="One subscription", responses=documented(400, 404, 422, 503))
    async def read_subscription(queries: Queries, id: Id, at_least: AtLeast = None) -> Answer[Subscription]:
        return found(await queries.subscription(id, at_least), "unknown-subscription")

    return [
        subscribe,
        confirm,
        send_code_again,
        read_subscription,
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
