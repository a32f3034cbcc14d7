"""Which other regions there are, and by which key to seal for each; and our own key, told to them through our log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from rembuk.broker.connecting import connect
from rembuk.contracts.reports import RegionIntroduced
from rembuk.events.event import Metadata
from rembuk.events.ids import derive_id, event_id
from rembuk.federation.hub_regions import INBOX, REGIONS, Introduced
from rembuk.keys.key_setting import BadKey
from rembuk.keys.referral_key import load_pair
from rembuk.keys.region_key import RegionKeys, Tampered, WrongRegionKey
from rembuk.log.event_log import AlreadyRecorded, EventLog, VersionConflict
from rembuk.postgres.database import KeptConnection, Unavailable, is_unreachable
from rembuk.process.logs import LastWord

ASK_S, AGAIN_S = 10.0, 2.0
"""How long after an answer the hub is asked again, and how long after none."""
ANSWER_S = 5.0

_HEARD = """insert into other_region (name, public_key, heard_at) values ($1, $2, now())
            on conflict (name) do update set heard_at = now() where other_region.public_key = excluded.public_key
            returning true"""

_NOT_HEARD = "update other_region set heard_at = '-infinity' where name <> all($1) and heard_at > '-infinity'"
"""Of a region that is turned away the hub tells no more; its key stays believed."""

_log = structlog.get_logger(__name__)


class Directory:
    """Keeps the table `other_region`. `run` is a task of the worker where the region has a hub; `log` is our own.

    A region's key is believed once: whoever told us another one later could read what is meant for it."""

    def __init__(
        self, database_url: str, nats_url: str, region: str, region_keys: Callable[[], RegionKeys], log: EventLog
    ) -> None:
        self._connection = KeptConnection(database_url, "reports directory")
        self._nats_url, self._region, self._region_keys, self._log = nats_url, region, region_keys, log
        self._refused: dict[str, str] = {}  # another key of a region, said once
        self._last_word = LastWord(_log, "the hub tells of other regions again", region=region)

    async def run(self) -> None:
        """Introduce ourselves, then ask until cancelled; why that cannot be done now is said once."""
        client = await connect(self._nats_url, f"{self._region} directory", inbox=INBOX)
        introduced = False
        try:
            while True:
                pause = AGAIN_S
                try:
                    introduced = introduced or await self._introduced()
                    await self.ask(client)
                    pause = ASK_S
                    self._last_word.say("")
                except (nats.errors.Error, msgspec.MsgspecError, asyncpg.DataError) as error:
                    self._last_word.say(f"the hub does not tell of other regions: {error!r}")
                except Exception as error:
                    if not is_unreachable(error):
                        raise
                    _log.warning("the directory waits", error=repr(error))
                    self._connection.drop()
                await asyncio.sleep(pause)
        finally:
            self._connection.drop()
            await client.close()

    async def _introduced(self) -> bool:
        """Whether we are; a region that cannot use its own key hears of the others all the same."""
        try:
            await self.introduce()
        except (BadKey, WrongRegionKey, Tampered) as error:
            _log.critical("the region cannot introduce itself", error=repr(error))
            return False
        return True

    async def introduce(self) -> None:
        """Record our public key, unless the log has it. Raises Unavailable, BadKey, WrongRegionKey, Tampered."""
        pair = await load_pair(await self._connection.get(), self._region_keys(), self._region)
        ours, key = derive_id("region", self._region), f"introduced:{pair.public_key}"
        before = await self._log.read_stream(ours)
        event = RegionIntroduced(self._region, pair.public_key)
        if any(fact.event == event for fact in before):
            return
        try:
            await self._log.append(ours, len(before), [event_id(key)], [event], metadata=Metadata(correlation_id=key))
        except AlreadyRecorded:
            return
        except VersionConflict as error:
            raise Unavailable("another worker introduces the region") from error
        _log.info("region introduced", region=self._region, public_key=pair.public_key)

    async def ask(self, client: Client) -> None:
        """Ask once, and keep what is heard. Raises nats.errors.Error, what `rembuk.postgres.database.UNREACHABLE`
        lists, and msgspec.MsgspecError or asyncpg.DataError for what names no regions."""
        answer = await client.request(REGIONS, timeout=ANSWER_S)
        connection = await self._connection.get()
        introduced = msgspec.json.decode(answer.data, type=list[Introduced])
        await connection.execute(_NOT_HEARD, [told.name for told in introduced])
        for told in introduced:
            if told.name == self._region:
                continue
            if await connection.fetchval(_HEARD, told.name, told.public_key):
                self._refused.pop(told.name, None)
            elif self._refused.get(told.name) != told.public_key:
                self._refused[told.name] = told.public_key
                _log.critical(
                    "a region has another key than before, which is not taken", **msgspec.structs.asdict(told)
                )
