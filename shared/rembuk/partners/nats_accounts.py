"""Partners on NATS: an account each, into which the region lets the messages of that partner's own durable consumers
and nothing else. What was tried for it is told in docs/decisions/0019-a-partner-has-an-account-of-its-own.md."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rembuk.broker.stream_names import OWN_INBOX, stream_name
from rembuk.federation.hub_regions import new_seed, public_key

if TYPE_CHECKING:
    from rembuk.partners.partners import Partner

REGION, USER = "REGION", "region"
"""The account that has the streams, and the user by whom the services are in it."""
DOMAIN = "polmas"
"""The JetStream domain, as a client calls it, under which a partner finds its consumers: an account's own `$JS.API` is
answered by the server, which says there that JetStream is not enabled."""
ASKED = ("MSG.NEXT", "INFO")
"""Of the server's API, about the partner's own consumers alone."""
RESETTING = "rembuk.partners.reset"
"""Where a partner's wish to go on from another position arrives: the service's worker looks at it, and asks the server
(see `rembuk.partners.partner_consumers`)."""
LIMITS = {"max_connections": 8, "max_subscriptions": 100, "max_payload": 4096}
"""Of a partner's account; the payload is for requests, which are small."""


def new_credentials() -> tuple[str, str]:
    """The seed of an nkey, which the partner alone keeps, and its public half, which is `Partner.nkey`."""
    seed = new_seed(secrets.token_bytes(32))
    return seed, public_key(seed)


def accounts(region: str, password: str, partners: Iterable[Partner]) -> dict[str, Any]:
    """The `accounts` of the nats-server's configuration: the region's, which the services enter by a password, and one
    of each partner that is neither revoked nor without an nkey."""
    admitted = _admitted(partners)
    return {
        REGION: {
            "jetstream": "enabled",
            "users": [{"user": USER, "password": password}],
            "exports": [export for one in admitted for export in _exports(region, one)],
        },
        **{account(one.name): _account(region, one) for one in admitted},
    }


def to_include(region: str, partners: Iterable[Partner]) -> dict[str, dict[str, Any]]:
    """By file, what a region's own nats-server includes: the first within the account REGION, the second beside it."""
    admitted = _admitted(partners)
    return {
        "region-exports.conf": {"exports": [export for one in admitted for export in _exports(region, one)]},
        "partners.conf": {account(one.name): _account(region, one) for one in admitted},
    }


def account(partner: str) -> str:
    """The name of a partner's account, by which it is known in the server's log."""
    return f"partner-{partner}"


def _admitted(partners: Iterable[Partner]) -> list[Partner]:
    return [one for one in partners if one.revoked_at is None and one.nkey]


def _exports(region: str, partner: Partner) -> list[dict[str, Any]]:
    """What the region's account lets a partner's do. A pull is answered by a stream of messages."""
    return [
        {"service": subject, "accounts": [account(partner.name)]}
        | ({"response_type": "stream"} if ".MSG.NEXT." in subject else {})
        for subject in _subjects(region, partner)
    ]


def _account(region: str, partner: Partner) -> dict[str, Any]:
    subjects = {subject: _as_partner(subject) for subject in _subjects(region, partner)}
    return {
        "users": [
            {
                "nkey": partner.nkey,
                "permissions": {
                    "publish": {"allow": list(subjects.values())},
                    "subscribe": {"allow": [f"{OWN_INBOX}.>"]},
                },
            }
        ],
        "imports": [
            {"service": {"account": REGION, "subject": subject}, "to": own} for subject, own in subjects.items()
        ],
        "limits": LIMITS,
    }


def _subjects(region: str, partner: Partner) -> list[str]:
    """What is asked of a partner's consumers: the next messages, to go on from a position, how they stand, and
    acknowledgements."""
    return [
        subject
        for service in partner.scope.services
        for at in [f"{stream_name(region, service)}.{partner.name}"]
        for subject in (
            *(f"$JS.API.CONSUMER.{asked}.{at}" for asked in ASKED),
            f"{RESETTING}.{at}",
            f"$JS.ACK.{at}.>",
        )
    ]


def _as_partner(subject: str) -> str:
    """The same as the partner writes it: of the API, that of the domain; an acknowledgement names no domain."""
    subject = subject.replace(RESETTING, "$JS.API.CONSUMER.RESET", 1)
    return subject.replace("$JS.API.", f"$JS.{DOMAIN}.API.", 1)
