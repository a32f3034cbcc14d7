"""Partners: other systems that may read what a region publishes, each by credentials of its own, and no more of it than
its scope. The list is a file, so that it is at hand where neither database nor broker is. The only secrets in it are
those by which webhooks are signed; it is for its owner's eyes alone."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from rembuk.broker.stream_names import area_filter, subject_prefix
from rembuk.events.web_url import BadUrl, web_url
from rembuk.partners.roster import Roster, absolute
from rembuk.settings import PARTNERS

_NAME = re.compile(r"[a-z][a-z0-9-]{1,31}")
_AREA = re.compile(r"\d{2}(\.\d{2}(\.\d{2})?)?")
MARK = "rembuk_"
"""What every token begins with."""


class BadPartner(ValueError):
    """What was said about a partner breaks a rule; names field and rule."""


class Scope(msgspec.Struct, frozen=True):
    """What a partner may see: of these services, these types of events (all where none is named), about these areas and
    what lies in them (everywhere where none is named). An event about a wider area than those is not seen, nor is one
    about none."""

    services: tuple[str, ...]
    types: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for area in self.areas:
            if not _AREA.fullmatch(area):
                raise BadPartner(f"area {area!r}: must be the code of a province, regency or district, as 35.78")

    def sees(self, service: str, event_type: str, area: str) -> bool:
        return (
            service in self.services
            and (not self.types or event_type in self.types)
            and (not self.areas or any(area == one or area.startswith(f"{one}.") for one in self.areas))
        )

    def subjects(self, region: str, service: str) -> list[str]:
        """The same as filters of NATS, none of which overlaps another."""
        if service not in self.services:
            return []
        widest = [one for one in set(self.areas) if not any(one.startswith(f"{other}.") for other in self.areas)]
        prefix = subject_prefix(region, service)
        return sorted(
            area_filter(prefix, area, event_type) for area in widest or [""] for event_type in set(self.types) or ["*"]
        )


class Webhook(msgspec.Struct, frozen=True):
    """Where a partner is sent its events, and the secret (Standard Webhooks: `whsec_...`) that signs them."""

    url: str
    secret: str

    def __post_init__(self) -> None:
        with suppress(ValueError):  # of brackets that are no address
            parts = urlsplit(self.url)
            if parts.scheme in ("http", "https") and parts.hostname:
                return
        raise BadPartner(f"webhook {self.url!r}: must be an http or https URL")


class Partner(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom we know by the hash of a token (HTTP) and by the public half of an nkey (NATS), and send to by its webhook,
    if it has one."""

    name: str
    scope: Scope
    token_sha256: str
    added_at: datetime
    nkey: str = ""
    webhook: Webhook | None = None
    revoked_at: datetime | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadPartner(f"name {self.name!r}: must be 2 to 32 lower-case letters, digits and hyphens")


def new_token() -> str:
    """A secret that its bearer is known by."""
    return MARK + secrets.token_urlsafe(32)


def new_secret() -> str:
    """What a webhook's requests are signed by, in the form of Standard Webhooks: 32 bytes in base64."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def hashed(token: str) -> str:
    """As the file has it: tokens are random enough that one SHA-256 keeps them."""
    return hashlib.sha256(token.encode()).hexdigest()


class Partners(Roster[Partner]):
    """The file of everybody, the revoked too: whom it revokes is revoked from then on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Partner)

    @classmethod
    def named(cls, path: str) -> Partners | None:
        """Those of the file that REMBUK_PARTNERS names; None where it is empty. Raises BadRoster."""
        if not path:
            return None
        partners = cls(absolute(PARTNERS, path))
        partners.read()
        return partners

    def active(self) -> list[Partner]:
        """Whoever is not revoked. Raises BadRoster."""
        return [one for one in self.read() if one.revoked_at is None]

    def bearing(self, token: str) -> Partner | None:
        """The partner whose token this is. Raises BadRoster."""
        wanted = hashed(token)
        return next((one for one in self.active() if secrets.compare_digest(one.token_sha256, wanted)), None)

    def add(self, partner: Partner) -> None:
        """Raises BadPartner where the name is taken, or its webhook nobody's; BadRoster, OSError."""
        if (hook := partner.webhook) is not None:
            try:
                web_url(hook.url)
            except BadUrl as error:
                raise BadPartner(f"webhook {hook.url!r}: {error}") from None
        with self.changing() as known:
            if any(one.name == partner.name for one in known):
                raise BadPartner(f"name {partner.name!r}: is taken; names are not used again, not even of the revoked")
            known.append(partner)

    def revoke(self, name: str) -> Partner:
        """Raises BadPartner where there is none of this name, or no longer; BadRoster, OSError."""
        with self.changing() as known:
            for number, one in enumerate(known):
                if one.name == name and one.revoked_at is None:
                    known[number] = msgspec.structs.replace(one, revoked_at=datetime.now(UTC))
                    return known[number]
            raise BadPartner(f"name {name!r}: no partner of this name is active")
