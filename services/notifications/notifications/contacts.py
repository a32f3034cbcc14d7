"""What a contact may be: the form that its channel needs, how it is written on what leaves, and when two are one."""

from __future__ import annotations

from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email
from rembuk.contracts.notifications import Channel
from rembuk.events.web_url import BadUrl, web_url


class BadContact(ValueError):
    """The contact has not the form that its channel needs; the message tells the rule."""


def deliverable(channel: Channel, contact: str) -> str:
    """The contact as its channel takes it; whether it can be reached shows the confirmation. Raises BadContact."""
    return _mailbox(contact) if channel == "email" else _url(contact)


def same(channel: Channel, contact: str) -> str:
    """What is equal for two contacts that lead to the same receiver. Raises BadContact."""
    reached = deliverable(channel, contact)
    if channel == "email":
        return reached.casefold()  # RFC 5321 lets a host tell `Budi` from `budi`; none that people use does
    url = urlsplit(reached)
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    query = f"?{url.query}" if url.query else ""
    return f"{url.scheme}://{url.hostname}:{port}{url.path or '/'}{query}"


def _mailbox(contact: str) -> str:
    """An address of RFC 5321 in ASCII, its domain as DNS has it; `strict` is that RFC's 64 octets before the @."""
    try:
        checked = validate_email(contact, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError as error:
        raise BadContact(str(error)) from None
    if "=?" in checked.local_part:  # RFC 2047: many programs decode it even where an address stands
        raise BadContact("An e-mail address must not contain =?, which begins an encoded word.")
    assert checked.ascii_email is not None, "without SMTPUTF8 every address has this form"
    return checked.ascii_email


def _url(contact: str) -> str:
    try:
        url = web_url(contact)
    except BadUrl as error:
        raise BadContact(str(error)) from None
    if "@" in url.netloc or url.fragment:
        raise BadContact("A URL must not name a user, nor a part of a page.")
    return contact
