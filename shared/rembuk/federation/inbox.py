"""A region's inbox: what other regions say to it, kept for it by the hub, and followed here as a stream of its own.

A letter has the same position at the hub and here, so a stream that was lost is fetched again as it was. Nothing of it
waits for the hub: while that is away the stream stands still, and goes on where it was.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import Header, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from rembuk.broker.connecting import connect
from rembuk.broker.stream_names import inbox_name
from rembuk.federation.hub_regions import ADDRESSED, INBOX
from rembuk.flow.checkpoints import Checkpoint
from rembuk.process.logs import LastWord
from rembuk.settings import Settings

ASK_S = 1.0
"""How often the hub is asked: how long a letter may take besides the way."""
ANSWER_S = 5.0

_NAME = re.compile(r"(?!nats-)[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.IGNORECASE)
"""What can be a header's name (a token of RFC 9110), and is none of the broker's own. One letter with another must not
hold up all that follow: nats-py refuses it."""

_decode = msgspec.msgpack.Decoder

_log = structlog.get_logger(__name__)


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """An event that another region has recorded: the headers and the data that it published, and its place here."""

    position: int
    headers: dict[str, str]
    data: bytes


class LetterPage(msgspec.Struct, frozen=True, array_like=True):
    """Letters behind the position that was asked about, not all perhaps; `last` is the last position there is, and
    `event_id` that of the letter at the position itself, "" for none."""

    last: int
    event_id: str
    letters: list[Letter]


def inbox_config(region: str) -> StreamConfig:
    """The stream that the letters of a region come to; its reports' worker alone writes there."""
    return StreamConfig(
        name=inbox_name(region),
        subjects=[f"inbox.{region}.>"],
        storage=StorageType.FILE,
        max_age=0,
        duplicate_window=1,  # the sequence that is expected says it all
        allow_direct=True,
        deny_delete=True,
        deny_purge=True,
    )


class InboxCheckpoint(Checkpoint):
    """That of a follower of the inbox. Regions are heard in any order of time, for one may have been cut off for a day:
    nothing counts as reacted to because it was recorded early."""

    @classmethod
    def told(cls, settings: Settings, follower: str) -> InboxCheckpoint:
        return cls(settings.database_url, follower, inbox_name(settings.region))

    async def reached(self, connection: asyncpg.Connection[Any]) -> datetime | None:
        return None


class Inbox:
    """Fetches the letters. `run` is a task of the reports' worker where the region has a hub."""

    def __init__(self, nats_url: str, region: str) -> None:
        self._nats_url, self._region = nats_url, region
        self._config = inbox_config(region)
        self._last_word = LastWord(_log, "the inbox goes on", region=region)

    async def run(self) -> None:
        """Fetch until cancelled; what cannot be done now is said once, and tried again."""
        client = await connect(self._nats_url, f"{self._region} inbox", inbox=INBOX)
        try:
            while True:
                more = False
                try:
                    more = await self.fetch(client)
                except (nats.errors.Error, TimeoutError, msgspec.MsgspecError, KeyError) as error:
                    self._last_word.say(f"the inbox waits: {error!r}")
                if not more:
                    await asyncio.sleep(ASK_S)
        finally:
            await client.close()

    async def fetch(self, client: Client) -> bool:
        """Ask once, and keep what comes; whether there was anything. Raises nats.errors.Error, TimeoutError, and
        msgspec.MsgspecError or KeyError for what is no page of letters."""
        jetstream = client.jetstream()
        position = await self._position(jetstream)
        answer = await client.request(ADDRESSED, str(position).encode(), timeout=ANSWER_S)
        page = _decode(LetterPage).decode(answer.data)
        if page.last != position and page.event_id != await self._event_id(jetstream, position):
            why = f"the hub's letters are not those that came from it up to {position}: nothing is fetched"
            self._last_word.say(why, critical=True)
            return False
        self._last_word.say("")
        for letter in page.letters:
            await self._keep(jetstream, letter)
        return bool(page.letters)

    async def _position(self, jetstream: JetStreamContext) -> int:
        """The last letter that is here; the stream is made where it is not there."""
        try:
            info = await jetstream.stream_info(self._config.name or "")
        except NotFoundError:
            info = await jetstream.add_stream(self._config)
            _log.info("inbox made", stream=self._config.name)
        return info.state.last_seq

    async def _event_id(self, jetstream: JetStreamContext, position: int) -> str:
        if not position:
            return ""
        message = await jetstream.get_msg(self._config.name or "", seq=position)
        return str((message.headers or {}).get("ce-id", ""))

    async def _keep(self, jetstream: JetStreamContext, letter: Letter) -> None:
        """Raises nats.errors.Error where another letter has that place already."""
        told = {name: value for name, value in letter.headers.items() if _NAME.fullmatch(name)}
        subject = ".".join(["inbox", self._region, told["ce-region"], told["ce-type"]])
        headers = told | {Header.EXPECTED_LAST_SEQUENCE: str(letter.position - 1)}
        await jetstream.publish(subject, letter.data, headers=headers, stream=self._config.name)
