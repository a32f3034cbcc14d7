"""Partners are sent what a service records, by webhook: in order, in batches, at least once.

Up to where stands in the table `webhook`, and moves on only after a 2xx; an operator may set it back. No connection to
the database is held while a receiver takes its time, and each partner has a task of its own: who hangs hinders nobody.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import structlog

from rembuk.broker.cloud_events import published
from rembuk.partners import scoped
from rembuk.partners.partners import Partner, Partners
from rembuk.partners.retry_after import LONGEST_RETRY_AFTER_S
from rembuk.partners.roster import BadRoster
from rembuk.postgres.database import (
    AGAIN_S,
    AS_LONG_AS_IT_TAKES_S,
    UNREACHABLE,
    KeptConnection,
    Pool,
    borrowed,
    open_pool,
)
from rembuk.process.cancelling import cancel
from rembuk.settings import Settings

if TYPE_CHECKING:
    from rembuk.partners.posting import Poster, WebhookResponse

MEDIA_TYPE = "application/cloudevents-batch+json"
BATCH, BATCH_BYTES = 100, 512 * 1024
WATCH_S = 1.0
"""How often it is looked who is to be sent what."""
CHECK_S = 2.0
"""How often a cursor is looked at without word from the log: somebody may have set it back."""
SEND_S = 15.0
"""How long one request may take, all in all."""
CLOCKS_APART_S = 3600.0
"""A pause that is longer by so much than a receiver can ask for was noted by a clock that ran ahead."""
UNWRITTEN = 1_000
"""So many positions that a partner does not see are passed before its cursor is moved for them alone."""
GONE = 410

_LOCK = "select pg_advisory_lock(hashtext('rembuk webhooks'))"
_BEGIN = "insert into webhook (partner) values ($1) on conflict do nothing"
_CURSOR = """select position, stopped,
                    case when due_at < now() + make_interval(secs => $2)
                         then greatest(extract(epoch from due_at - now()), 0)::float else 0 end as pause
             from webhook where partner = $1"""
# Both leave a cursor alone that was set back meanwhile.
_ADVANCE = """update webhook set position = $3, attempts = 0, failing_since = null, failure = ''
              where partner = $1 and position = $2"""
_FAIL = """update webhook
           set attempts = attempts + 1, failing_since = coalesce(failing_since, now()), failure = $3, stopped = $4,
               due_at = now() + make_interval(secs => greatest(least(2 ^ least(attempts, 12), 3600), $5::float))
           where partner = $1 and position = $2"""

_log = structlog.get_logger(__name__)


class _Cursor(msgspec.Struct):
    """Where a partner is: as written, and how far beyond that nothing was for it."""

    written: int = -1
    position: int = -1


class Webhooks:
    """Sends one service's events. Only the holder of the log's advisory lock does; others wait in line."""

    def __init__(self, settings: Settings, partners: Partners) -> None:
        self._of = settings.region, settings.service
        self._partners = partners
        self._url, self._name = settings.database_url, f"{settings.name} webhooks"
        self._private = settings.partners.private_webhooks
        self._connection = KeptConnection(self._url, self._name, self._lead)
        self._grown = asyncio.Event()
        self._sending: dict[str, tuple[Partner, asyncio.Task[None]]] = {}

    @classmethod
    def told(cls, settings: Settings) -> Webhooks | None:
        """Those of the partners that the settings name; None without them. Raises BadRoster."""
        partners = Partners.named(settings.partners.roster)
        return None if partners is None else cls(settings, partners)

    async def run(self) -> None:
        """Send until cancelled."""
        from rembuk.partners.posting import Poster  # a service without webhooks need not carry it

        pool: Pool | None = None
        poster: Poster | None = None
        try:
            while True:
                wanted = self._wanted()
                if wanted and poster is None:
                    pool, poster = open_pool(self._url, self._name, 2), Poster(private=self._private)
                try:
                    if wanted:
                        await self._connection.get()
                    await self._let_go(wanted)
                    if pool is not None and poster is not None:
                        self._take_up(wanted, pool, poster)
                except UNREACHABLE as error:
                    _log.warning("webhooks wait for the log", error=repr(error))
                    self._connection.drop()
                    await self._let_go({})
                await asyncio.sleep(WATCH_S)
        finally:
            await self._let_go({})
            self._connection.drop()
            if poster is not None:
                await poster.stop()
            if pool is not None:
                await pool.close()

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        await self._let_go({})  # who has lost the lock sends nothing until it is his again
        await connection.execute(_LOCK, timeout=AS_LONG_AS_IT_TAKES_S)
        await connection.add_listener("event_log", self._news)

    def _news(self, *_: Any) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def _wanted(self) -> dict[str, Partner]:
        """By name, who is to be sent events of this service now; nobody while the file cannot be read."""
        try:
            active = self._partners.active()
        except BadRoster as error:
            _log.critical("partners cannot be told apart: none is sent anything", why=str(error))
            return {}
        return {one.name: one for one in active if one.webhook and self._of[1] in one.scope.services}

    async def _let_go(self, wanted: dict[str, Partner]) -> None:
        """End what is for nobody any more, and what has failed."""
        for name, (partner, task) in list(self._sending.items()):
            if task.done() or wanted.get(name) != partner:
                del self._sending[name]
                await cancel([task])
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    _log.critical("webhook fails", partner=name, exc_info=error)

    def _take_up(self, wanted: dict[str, Partner], pool: Pool, poster: Poster) -> None:
        for name, partner in wanted.items():
            if name not in self._sending:
                task = asyncio.create_task(self._send_all(partner, pool, poster), name=f"webhook of {name}")
                self._sending[name] = partner, task

    async def _send_all(self, partner: Partner, pool: Pool, poster: Poster) -> None:
        """Send what is past, then what comes."""
        cursor = _Cursor()
        while True:
            grown = self._grown
            try:
                pause = await self._send(partner, cursor, pool, poster)
            except UNREACHABLE as error:
                _log.warning("webhook waits for the log", partner=partner.name, error=repr(error))
                pause = AGAIN_S
            if pause is not None:
                await asyncio.sleep(pause)
            elif not grown.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_S):
                        await grown.wait()

    async def _send(self, partner: Partner, cursor: _Cursor, pool: Pool, poster: Poster) -> float | None:
        """Send one batch; the seconds until the next one, None for when the log has grown."""
        name = partner.name
        async with borrowed(pool) as connection:
            row = await connection.fetchrow(_CURSOR, name, LONGEST_RETRY_AFTER_S + CLOCKS_APART_S)
            if row is None:
                await connection.execute(_BEGIN, name)
                return 0
            if row["stopped"] or row["pause"]:
                return CHECK_S if row["stopped"] else min(row["pause"], CHECK_S)
            if row["position"] != cursor.written:
                cursor.written = cursor.position = row["position"]
            try:
                page = await scoped.page(connection, partner.scope, cursor.position, BATCH, BATCH_BYTES)
            except scoped.BeyondTheHead as error:
                _log.error("webhook has more than the log", partner=name, why=str(error))
                await connection.execute(_FAIL, name, cursor.written, f"{error}: rembuk partner replay", True, 0)
                return 0
            if not page.rows:
                is_level, cursor.position = page.position == cursor.position, page.position
                if cursor.position - cursor.written >= UNWRITTEN:
                    await self._advance(connection, name, cursor)
                return None if is_level else 0
        failure, answer = await self._post(partner, page.rows, poster)
        async with borrowed(pool) as connection:
            if failure:
                _log.warning("webhook is not taken", partner=name, why=failure)
                stopped = answer.status == GONE
                await connection.execute(_FAIL, name, cursor.written, failure, stopped, answer.retry_after)
            else:
                cursor.position = page.position
                await self._advance(connection, name, cursor)
        return 0

    async def _advance(self, connection: asyncpg.Connection[Any], name: str, cursor: _Cursor) -> None:
        await connection.execute(_ADVANCE, name, cursor.written, cursor.position)
        cursor.written = cursor.position

    async def _post(self, partner: Partner, rows: list[asyncpg.Record], poster: Poster) -> tuple[str, WebhookResponse]:
        """Why it was not taken, "" if it was, and what was answered (status 0: nothing)."""
        from rembuk.partners.posting import NotPosted, WebhookResponse

        assert partner.webhook is not None
        if partner not in self._wanted().values():
            return "no partner any more", WebhookResponse(0)
        body = msgspec.json.encode([published(*self._of, row) for row in rows])
        message_id = f"{'_'.join(self._of)}_{rows[0]['position']}_{rows[-1]['position']}"
        try:
            async with asyncio.timeout(SEND_S):
                answer = await poster.post(partner.webhook.url, partner.webhook.secret, message_id, MEDIA_TYPE, body)
        except NotPosted as error:
            return error.detail, WebhookResponse(0)
        except TimeoutError:
            return "timeout", WebhookResponse(0)
        return ("" if 200 <= answer.status < 300 else f"HTTP {answer.status}"), answer
