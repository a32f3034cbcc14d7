"""Messages by e-mail: plain text, handed to the SMTP server of the region.

The head of a mail is written here and not by `email.policy`: that decodes the encoded words of what it is given and,
in Python before 3.11.10 (CVE-2024-6923), folds a line break that was in them as one that ends the header.
"""

from __future__ import annotations

import re
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr, parseaddr
from urllib.parse import SplitResult, unquote, urlsplit

import aiosmtplib
from rembuk.settings import BadSetting

from notifications.channels import Message, Undelivered
from notifications.channels.later import Later, asked_for
from notifications.commands import Contact
from notifications.contacts import BadContact, deliverable

TIMEOUT_S = 10

COME_AGAIN_S = 360.0
"""After how long a message comes again that was refused for now, where the answer does not say: greylists want five
minutes or more."""
SERVER = ""
"""In the place of a recipient: all of them."""
CLOSING = 421

_BODY = SMTP.clone(cte_type="7bit")
_NOT_OF_THE_RECIPIENT = re.compile(r"[245]\.(7\.\d+|2\.2)\b")
"""The status (RFC 3463) of a refusal for reasons of policy or of room: the mailbox exists."""
_OURS = (
    aiosmtplib.SMTPConnectResponseError, aiosmtplib.SMTPHeloError, aiosmtplib.SMTPAuthenticationError,
)  # fmt: skip
"""Answers about how we speak with the server: an operator mends that, and the message goes."""
_OF_THE_SERVER = (*_OURS, aiosmtplib.SMTPSenderRefused)
"""Whoever the message is for, the next one would be answered so, too."""


class EmailChannel:
    """Sends through the server of `url` (`smtp://` or `smtps://user:password@host:port`, "" for none) as `sender`.

    Who refuses for now (RFC 5321: 4yz) is left alone for as long as he says, or `come_again_s`: the recipient, or where
    the server refuses or closes (421) all of them."""

    def __init__(self, url: str, sender: str, region: str, come_again_s: float = COME_AGAIN_S) -> None:
        """Raises BadSetting where `sender` is no address."""
        self._come_again_s, self._later = come_again_s, Later()
        self._server = urlsplit(url)
        name, self._sender = parseaddr(sender)
        if not self._sender.isascii() or not self._sender.isprintable() or "@" not in self._sender:
            raise BadSetting(f"REMBUK_SMTP_FROM is not an e-mail address: {sender}")
        self._from, self._region = formataddr((name, self._sender)), region

    async def send(self, contact: Contact, message: Message) -> None:
        """Raises Undelivered, finally so where the server refuses it for good (RFC 5321: 5yz); Busy while it or the
        recipient is left alone."""
        server = self._server
        if not server.hostname:
            raise Undelivered("no SMTP server is configured")
        try:
            to = deliverable("email", contact.to)
        except BadContact:  # taken when less was checked
            raise Undelivered("not an e-mail address", final=True) from None
        with self._later.turn(to.casefold()), self._later.turn(SERVER):
            await self._send(server, to, self.compose(to, message))

    async def _send(self, server: SplitResult, to: str, mail: bytes) -> None:
        try:
            await aiosmtplib.send(
                mail,
                sender=self._sender,
                recipients=[to],
                hostname=server.hostname,
                port=server.port,
                username=unquote(server.username) if server.username else None,
                password=unquote(server.password) if server.password else None,
                use_tls=server.scheme == "smtps",
                timeout=TIMEOUT_S,
            )
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            [answer] = refusal.recipients
            final = answer.code >= 500
            bounced = final and not _NOT_OF_THE_RECIPIENT.match(answer.message)
            why = f"recipient refused: SMTP {answer.code}"
            raise Undelivered(why, final=final, bounced=bounced, pause=self._pause(to, answer)) from refusal
        except aiosmtplib.SMTPResponseException as answer:
            final = answer.code >= 500 and not isinstance(answer, _OURS)
            raise Undelivered(f"SMTP {answer.code}", final=final, pause=self._pause(to, answer)) from answer
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Undelivered(f"SMTP: {type(error).__name__}") from error

    def _pause(self, to: str, answer: aiosmtplib.SMTPResponseException) -> float:
        """The seconds for which we leave alone who has answered so; 0 for a refusal for good."""
        if answer.code >= 500:
            return 0.0
        seconds = asked_for(answer.message) or self._come_again_s
        all_of_them = answer.code == CLOSING or isinstance(answer, _OF_THE_SERVER)
        self._later.leave_alone(SERVER if all_of_them else to.casefold(), seconds)
        return seconds

    def compose(self, to: str, message: Message) -> bytes:
        """The message as RFC 5322 has it. Its id derives from the delivery, so a mailbox can tell a repetition."""
        body = EmailMessage(_BODY)
        body.set_content(message.text)
        head = {
            "From": self._from,
            "To": to,
            "Subject": _words(message.headline),
            "Date": format_datetime(message.at),
            "Message-ID": f"<{message.id}@{self._region}.rembuk>",
            "Auto-Submitted": "auto-generated",
            "List-Unsubscribe": f"<{message.stop_url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
        return "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode("ascii") + body.as_bytes()


def _words(text: str) -> str:
    """One line that says `text`: encoded words, so that nothing in it is taken for one, or for another header."""
    visible = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    return Header(visible, "utf-8", maxlinelen=76, header_name="Subject").encode(linesep="\r\n")
