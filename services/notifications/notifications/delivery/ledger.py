"""The sender's side of the ledger: what is due by lane, and what is remembered of contacts by their marks.

A mark is what the vault makes of a contact (`Vault.mark`): equal for equal contacts, and told by it nobody's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import asyncpg
from rembuk.log.standing import first_event, has_event
from rembuk.postgres.database import UNREACHABLE, Pool, borrowed, open_pool

LEASE = timedelta(seconds=60)
"""How long what one sender took is left to it by the others; it knows itself what it has not done with."""
CODES_FORGOTTEN = timedelta(days=7)
BOUNCES_FORGOTTEN = timedelta(days=180)

_TAKE = f"""
with due as materialized (
    select one.id from unnest(array[3, 2, 1, 0]::smallint[]) with ordinality as each (rank, n) cross join lateral (
        select id from delivery
        where lane = $1 and rank = each.rank and state in ('queued', 'failed') and due_at <= now() and id <> all($4)
        order by due_at limit $2 for update skip locked) as one
    order by n limit $2),
taken as (
    update delivery set due_at = now() + $3::interval from due where delivery.id = due.id
    returning delivery.id, alert_id, subscription_id, rank, queued_at, due_at)
select taken.*, alert.area, category, headline, text, severity, urgency, certainty, about, source_type, corrects,
       {has_event("taken.alert_id", "AlertWithdrawn")} as withdrawn,
       coalesce(subscription.contact, '') as mark, bounced_at,
       coalesce(began.metadata->>'correlation_id', '') as correlation_id,
       coalesce(began.metadata->>'traceparent', '') as traceparent
from taken left join alert on alert.id = taken.alert_id
     left join subscription on subscription.id = taken.subscription_id
     left join contact on contact.mark = subscription.contact and subscription.contact <> ''
     left join {first_event("began", "coalesce(alert_id, subscription_id)")}
order by rank desc"""  # noqa: S608 - the kernel's words
_POSTPONE = "update delivery set due_at = now() + $3::interval where id = $1 and due_at = $2"
_HASTEN = "update delivery set due_at = now() where id = $1 and due_at > now() + $2::interval"
_SET_RIGHT = """update delivery set due_at = now()
                where state in ('queued', 'failed') and due_at > now() + $1::interval"""
_MARK = "update subscription set contact = $2 where id = $1 and contact <> $2 and status <> 'stopped'"
_PACE = """
insert into contact as known (mark, codes, code_at, code_for) values ($1, 1, now(), $2)
on conflict (mark) do update
set codes = case when known.code_for = $2::text then known.codes
                 when known.code_at < now() - $4::interval or exists (
                     select from subscription where contact = $1 and confirmed_at >= known.code_at) then 1
                 else known.codes + 1 end,
    code_at = case when known.code_for = $2::text then known.code_at else now() end,
    code_for = $2::text
where known.code_for = $2::text
   or known.code_at + make_interval(secs => least($3::float * 4.0::float ^ least(known.codes - 1, 20), 86400)) <= now()
   or known.code_at > now()
   or exists (select from subscription where contact = $1 and confirmed_at >= known.code_at)
returning true"""
_LEFT = """select greatest(
               extract(epoch from code_at - now())
               + least($2::float * 4.0::float ^ least(codes - 1, 20), 86400), 0.05)::float
           from contact where mark = $1"""
_BOUNCED = """insert into contact (mark, bounced_at) values ($1, now())
              on conflict (mark) do update set bounced_at = now()"""
_REACHED = "update contact set bounced_at = null where mark = $1 and bounced_at is not null"
_FORGET = """delete from contact where coalesce(bounced_at + $2::interval, code_at + $1::interval) < now()
             and not exists (select from subscription where subscription.contact = mark and status <> 'stopped')"""


class Ledger:
    """The questions and notes of a sender. Start it before use, stop it after. Each raises what `UNREACHABLE` lists."""

    def __init__(self, url: str, name: str) -> None:
        self._open = partial(open_pool, url, name, 4)
        self._pool: Pool
        self._doubtful: list[tuple[UUID, datetime]] = []  # perhaps taken, and until when

    async def start(self) -> None:
        self._pool = self._open()

    async def stop(self) -> None:
        await self._pool.close()

    async def _ask(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        async with borrowed(self._pool) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
        return rows

    async def take(self, lane: str, room: int, but: list[UUID]) -> list[asyncpg.Record]:
        """So many of a lane as are due, until `due_at`. Where the database fails as it commits that, whatever it has
        taken is given back before the next is taken."""
        while self._doubtful:
            await self.postpone(*self._doubtful[-1], 0)
            self._doubtful.pop()
        rows: list[asyncpg.Record] = []
        try:
            async with borrowed(self._pool) as connection, connection.transaction():
                rows = await connection.fetch(_TAKE, lane, room, LEASE, but)
        except UNREACHABLE:
            self._doubtful = [(row["id"], row["due_at"]) for row in rows]
            raise
        return rows

    async def postpone(self, delivery_id: UUID, lease: datetime, seconds: float) -> None:
        """Have what was taken until `lease` taken again after some seconds, unless it has been taken since."""
        await self._ask(_POSTPONE, delivery_id, lease, timedelta(seconds=seconds))

    async def set_right(self, longest_pause_s: float) -> None:
        """Have what waits for longer than any pause lasts looked at now: it was postponed by a clock that ran ahead."""
        await self._ask(_SET_RIGHT, timedelta(seconds=longest_pause_s) + LEASE)

    async def hasten(self, delivery_id: UUID) -> None:
        """Have a delivery that waits for longer than a lease, so that nobody has it in hand, looked at now."""
        await self._ask(_HASTEN, delivery_id, LEASE)

    async def mark(self, subscription_id: UUID, mark: bytes) -> None:
        """Remember where a subscription leads."""
        await self._ask(_MARK, subscription_id, mark)

    async def code_pause(self, mark: bytes, code_for: str, first_pause_s: float) -> float:
        """0 where a contact may be sent this code now, which is noted; else the seconds until then. Whoever has
        confirmed since the last one is there, and is kept waiting by nobody."""
        if await self._ask(_PACE, mark, code_for, first_pause_s, CODES_FORGOTTEN):
            return 0.0
        [[left]] = await self._ask(_LEFT, mark, first_pause_s)
        return float(left)

    async def bounced(self, mark: bytes) -> None:
        """Send no more alerts there until something gets through again; nothing for a contact without a mark."""
        if mark:
            await self._ask(_BOUNCED, mark)

    async def reached(self, mark: bytes) -> None:
        await self._ask(_REACHED, mark)

    async def forget(self) -> None:
        """Delete what is remembered of contacts that no subscription leads to any more."""
        await self._ask(_FORGET, CODES_FORGOTTEN, BOUNCES_FORGOTTEN)
