"""Messages by e-mail: plain text, handed to the SMTP server of the region."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

import aiosmtplib

from notifications.channels import Message, Undelivered
from notifications.commands import Contact

TIMEOUT_S = 10


class EmailChannel:
    """Sends through the server of `url` (`smtp://` or `smtps://user:password@host:port`, "" for none) as `sender`."""

    def __init__(self, url: str, sender: str, region: str) -> None:
        self._server = urlsplit(url)
        self._sender, self._region = sender, region

    async def send(self, contact: Contact, message: Message) -> None:
        """Raises Undelivered; finally so where the server refuses the recipient for good (RFC 5321: 5yz)."""
        server = self._server
        if not server.hostname:
            raise Undelivered("no SMTP server is configured")
        try:
            await aiosmtplib.send(
                self.compose(contact.to, message),
                hostname=server.hostname,
                port=server.port,
                username=unquote(server.username) if server.username else None,
                password=unquote(server.password) if server.password else None,
                use_tls=server.scheme == "smtps",
                timeout=TIMEOUT_S,
            )
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            codes = [one.code for one in refusal.recipients]
            raise Undelivered(f"recipient refused: {codes}", final=min(codes) >= 500) from refusal
        except aiosmtplib.SMTPResponseException as answer:
            raise Undelivered(f"SMTP {answer.code}") from answer
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Undelivered(f"SMTP: {type(error).__name__}") from error

    def compose(self, to: str, message: Message) -> EmailMessage:
        """The message as RFC 5322 has it. Its id derives from the delivery, so a mailbox can tell a repetition."""
        mail = EmailMessage()
        mail["From"] = self._sender
        mail["To"] = to
        mail["Subject"] = " ".join(message.headline.split())
        mail["Date"] = format_datetime(message.at)
        mail["Message-ID"] = f"<{message.id}@{self._region}.rembuk>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["List-Unsubscribe"] = f"<{message.stop_url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        mail.set_content(message.text)
        return mail
