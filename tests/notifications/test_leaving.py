"""What leaves, and where to: nothing from outside forms a header, an address, or a way into our own network."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from email.header import decode_header, make_header
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from notifications.channels import Message, Undelivered
from notifications.channels.email import EmailChannel
from notifications.channels.webhook import WebhookChannel
from notifications.commands import Contact
from notifications.contacts import BadContact, deliverable, same
from notifications.delivery.composing import stop_link
from rembuk.partners.posting import NotPosted, Poster, retry_after
from rembuk.partners.public_addresses import is_public
from rembuk.settings import PUBLIC_URL, BadSetting, Settings

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
STOP_URL = "https://rembuk.example/v1/subscriptions/0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21/stop"
NAMES = [
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "List-Unsubscribe", "List-Unsubscribe-Post",
    "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
]  # fmt: skip
SMUGGLED = "=?utf-8?q?Uji=0D=0ABcc:_korban@example.org?="


def message(headline: str = "Awas banjir", text: str = "Air naik.") -> Message:
    return Message(UUID(int=1), "alert.raised", AT, headline, text, STOP_URL, {})


def read(mail: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """The headers as RFC 5322 has them, unfolded and not decoded, and the body; nothing here is of Python's parser."""
    head, _, body = mail.partition(b"\r\n\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", mail)
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    unfolded = re.sub(rb"\r\n(?=[ \t])", b"", head).decode("ascii")
    parted = (line.partition(": ") for line in unfolded.split("\r\n"))
    return [(name, value) for name, _, value in parted], body


written_words = st.lists(
    st.sampled_from(
        ["=?utf-8?q?", "=?utf-8?b?", "?=", "=0D=0A", "\r\n", "\n", "\r", "Bcc: a@b.org", ": ", "\x85", " ", "é"]
    )
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
).map("".join)


@given(written_words, written_words)
@example(SMUGGLED, SMUGGLED)
def test_nothing_from_outside_forms_a_header(headline: str, text: str) -> None:
    mail = EmailChannel("", "Rembuk <rembuk@jatim.example>", "jatim").compose(
        "warga@example.org", message(headline, text)
    )
    headers, _ = read(mail)
    assert [name for name, _ in headers] == NAMES
    told = dict(headers)
    assert told["To"] == "warga@example.org"
    shown = str(make_header(decode_header(told["Subject"])))
    assert shown.split() == re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", headline).split()


@given(st.emails() | written_words.map(lambda words: f"{words}@example.org"))
def test_a_contact_that_is_taken_is_one_address_and_leaves_as_it_was_confirmed(contact: str) -> None:
    try:
        to = deliverable("email", contact)
    except BadContact:
        return
    assert same("email", to) == to.casefold() == contact.casefold()
    assert dict(read(EmailChannel("", "r@j.example", "jatim").compose(to, message()))[0])["To"] == to
    assert re.fullmatch(r"[!-~]+@[A-Za-z0-9.-]+", to)
    assert not re.search(r"[<>(),;:\\\"\[\]]|=\?", to)


def test_a_mail_says_how_to_end_it_as_receivers_read_it() -> None:
    """RFC 2369: a URL between angle brackets, nothing encoded; RFC 8058: and that one POST to it is enough."""
    told = dict(read(EmailChannel("", "r@j.example", "jatim").compose("warga@example.org", message()))[0])
    assert told["List-Unsubscribe"] == f"<{STOP_URL}>"
    assert told["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_a_sender_that_is_no_address_is_named_when_the_worker_starts() -> None:
    with pytest.raises(BadSetting, match="REMBUK_SMTP_FROM"):
        EmailChannel("", "Rembuk Jatim", "jatim")


@pytest.mark.parametrize(
    "url", ["https://bücher.example", "https://a.example\r\nBcc: b@x.org", "https://a.example/?to={id}"]
)
def test_a_public_url_that_no_link_can_begin_with_is_named_when_the_worker_starts(url: str) -> None:
    settings = {"REMBUK_REGION": "jatim", "REMBUK_NOTIFICATIONS_DATABASE_URL": ""}
    assert stop_link(Settings.load("notifications", settings)) == "http://127.0.0.1:8000/v1/subscriptions/{id}/stop"
    with pytest.raises(BadSetting, match=f"{PUBLIC_URL} is to be printable ASCII"):
        stop_link(Settings.load("notifications", {**settings, PUBLIC_URL: url}))


@pytest.mark.parametrize(
    ("channel", "contact", "good"),
    [
        ("email", "warga@example.org", True),
        ("email", "warga.rt-05+polmas@kel.surabaya.go.id", True),
        ("email", "warga@bücher.example", True),
        ("email", "warga@xn--bcher-kva.example", True),
        ("email", f"{'a' * 64}@example.org", True),
        ("email", f"{'a' * 65}@example.org", False),
        ("email", "warga@example", False),
        ("email", "a..b@example.org", False),
        ("email", ".a@example.org", False),
        ("email", "a@-b.org", False),
        ("email", "a@b-.org", False),
        ("email", "warga@example.org\n", False),
        ("email", "warga@[10.0.0.5]", False),
        ("email", "=?utf-8?q?victim=40polri.go.id=2c?=@example.org", False),
        ("email", "warga@example.org\r\nBcc: all@example.org", False),
        ("email", "Warga <warga@example.org>", False),
        ("email", "a@example.org,b@example.org", False),
        ("webhook", "https://hooks.example.org/rembuk?key=1", True),
        ("webhook", "http://127.0.0.1:8080/", True),
        ("webhook", "ftp://example.org/", False),
        ("webhook", "https://user:secret@example.org/", False),
        ("webhook", "https://example.org:port/", False),
        ("webhook", "https:///nowhere", False),
        ("webhook", "https://example.org/a b", False),
        ("webhook", f"https://{'x' * 63}.example.org/", True),
        ("webhook", f"https://{'x' * 64}.example.org/", False),
        ("webhook", "https://example..org/", False),
        ("webhook", "https://xn--fuball-cta.de/", True),
        ("webhook", "https://xn--X/", False),
    ],
)
def test_a_contact_has_the_form_its_channel_needs(channel: str, contact: str, good: bool) -> None:
    with nullcontext() if good else pytest.raises(BadContact):
        deliverable(channel, contact)  # type: ignore[arg-type]


def test_contacts_that_lead_to_one_receiver_are_the_same() -> None:
    assert same("email", "Budi@Example.org") == same("email", "budi@example.org")
    assert same("email", "budi@bücher.example") == same("email", "Budi@xn--bcher-kva.example")
    assert same("webhook", "https://Hooks.Example.org:443") == same("webhook", "https://hooks.example.org/")
    assert same("webhook", "https://hooks.example.org/a") != same("webhook", "https://hooks.example.org/A")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120), ("99999999999", 86_400), ("Sun, 01 Mar 2026 12:05:00 GMT", 300),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0), ("", 0), ("-5", 0), ("soon", 0), ("Sun, 99 Mar 2026 11:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_how_long_a_receiver_wants_to_be_left_alone(header: str, seconds: float) -> None:
    assert retry_after(header, AT) == seconds


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("64:ff9b::8.8.8.8", True),  # as DNS64 answers where there is no IPv4
        ("64:ff9b::10.0.0.5", False),
        ("64:ff9b:1::a00:5", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2002:808:808::1", False),
        ("::ffff:8.8.8.8", False),
        ("::10.0.0.5", False),
        ("fec0::1", False),
        ("192.88.99.1", False),
        ("2606:2800::5efe:10.0.0.5", False),
        ("2606:2800::200:5efe:10.0.0.5", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("100::1", False),
    ],
)
def test_a_webhook_never_leads_into_our_own_network(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("host", [f"{'x' * 64}.example", "a..example", "999.1.1.1"])
async def test_a_webhook_whose_host_cannot_be_is_given_up_at_once(host: str) -> None:
    """As one may have been subscribed before such were refused."""
    contact = Contact(f"http://{host}/", "04711815", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    message = Message(UUID(int=1), "alert.raised", datetime.now(UTC), "Awas", "Air naik.", "", {})
    webhooks = WebhookChannel()
    with pytest.raises(Undelivered) as failure:
        await webhooks.send(contact, message)
    await webhooks.stop()
    assert failure.value.final
    assert host not in failure.value.reason


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLAA="  # the specification's own


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:99999/", "http://127.0.0.1:0/", "ftp://127.0.0.1/", "http://[::1", "http://x\ny/", "//x", ""],
)
async def test_a_url_that_nobody_can_be_reached_by_is_final(url: str) -> None:
    """Whatever was taken for one before: it is a reason, and no end of who sends."""
    poster = Poster(private=True)
    with pytest.raises(NotPosted) as why:
        await poster.post(url, SECRET, "1", "application/json", b"{}")
    assert why.value.final
    await poster.stop()


async def test_a_name_is_looked_up_once_and_what_it_led_to_then_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one that answers one of ours the second time; of forty addresses each has to be public."""
    answers: list[list[str]] = []

    def look_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in answers.pop(0)]

    @contextmanager
    def nowhere(address: str, port: int) -> Iterator[None]:
        raise ConnectionError(address)
        yield

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    poster = Poster()
    for found, why in ((["1.1.1.1"], "1.1.1.1"), (["1.1.1.1"] * 39 + ["10.0.0.5"], "cannot be reached")):
        answers[:] = [found, ["127.0.0.1"]]
        with pytest.raises((ConnectionError, NotPosted), match=why):
            await poster.post("http://rebound.example/", SECRET, "1", "application/json", b"{}", nowhere)
        assert answers == [["127.0.0.1"]]
    await poster.stop()
