"""Rows of lists by the hundred thousand, made in PostgreSQL as the projections leave them, and skewed: nine of ten in
one village and one forum; an alert that went to 10,000 subscriptions, and one subscription that got every alert."""

from __future__ import annotations

import importlib
from hashlib import md5
from uuid import UUID

import asyncpg
from rembuk.contracts import forums
from rembuk.contracts.forums import ForumFounded
from rembuk.contracts.reports import CODEC
from rembuk.testing.services import RunningRegion

from bench.many_problems import villages
from bench.work import EVENT, sized

MANY = sized(300_000, tiny=1_000)
SUBSCRIPTIONS = sized(10_000, tiny=50)
BUSY, *OTHERS = villages()
QUIET = OTHERS[-1]

_COUNTING, _MEETINGS = (
    importlib.import_module(f"hub.migrations.versions.{name}") for name in ("0006_months", "0009_meetings_counted")
)
_AT = "timestamptz '2024-01-01Z' + i * interval '1 minute'"
_PLACES = f"array{OTHERS}"
_IN = f"case when i % 10 > 0 then '{BUSY}' else ({_PLACES})[1 + (i / 10) % {len(OTHERS)}] end"
_CATEGORY = "(array['theft', 'noise', 'fraud', 'burglary', 'vandalism'])[1 + i % 5]"


def id_of(kind: str, number: int | str = "i") -> str:
    """The id of one of a kind by its number, in SQL."""
    return f"md5('{kind} ' || ({number}))::uuid"


def _uuid(kind: str, number: int) -> UUID:
    return UUID(md5(f"{kind} {number}".encode(), usedforsecurity=False).hexdigest())


FORUM, QUIET_FORUM, LAST_ALERT = _uuid("forum", 1), _uuid("forum", 2), _uuid("alert", MANY)
"""The busy forum, another in a quiet village, and the alert that went to all."""


_FORUM = f"case when i % 10 > 0 then {id_of('forum', 1)} else {id_of('forum', '1 + i % 1000')} end"
_FOUNDED = "; ".join(
    f"""insert into log.event (position, id, stream_id, version, type, schema_version, area, data, metadata,
                               recorded_at)
        values ({position}, '{forum}', '{forum}', 1, 'ForumFounded', {ForumFounded.schema_version}, '{area}',
                '{forums.CODEC.encode(ForumFounded(area, "wilayah", "Forum", "Balai RW")).decode()}', '{{}}', now())"""
    for position, (forum, area) in enumerate(((FORUM, BUSY), (QUIET_FORUM, QUIET)), 1)
)
_ROWS = {
    "forums": f"""
        {_FOUNDED};
        insert into forum (id, position, version, area, model, name, hall, founded_at, changed_at)
        select {id_of("forum")}, i, 1, {_IN}, 'wilayah', 'Forum ' || i, 'Balai RW', {_AT}, {_AT}
        from generate_series(1, {MANY // 10}) i;
        insert into member (id, position, forum_id, pillar, role, sex, joined_at)
        select {id_of("member")}, i, {id_of("forum", f"1 + i % {MANY // 10}")}, 'government', 'member', 'female', {_AT}
        from generate_series(1, {MANY}) i;
        insert into meeting (id, position, version, forum_id, area, at, place, status, agenda, attendance, agreements,
                             promises, deferred, held_position, held_at, scheduled_at, changed_at)
        select {id_of("meeting")}, i, 1, {_FORUM}, {_IN}, {_AT}, 'Balai RW',
               case when i % 50 = 0 then 'scheduled' else 'held' end, jsonb_build_array({id_of("problem")}),
               '[{{"pillar": "government", "sex": "female", "count": 9}}]', '[]', '[]', '[]', {MANY} + i, {_AT},
               {_AT}, {_AT}
        from generate_series(1, {MANY}) i;
        insert into commitment (id, position, version, forum_id, meeting_id, area, who, what, by, status, made_at,
                                changed_at)
        select {id_of("commitment")}, i, 1, {_FORUM}, {id_of("meeting", "i / 3")}, {_IN}, 'government',
               'Lampu dipasang', date '2026-01-01',
               case when i % 100 = 0 then 'due' when i % 3 = 0 then 'missed' else 'kept' end,
               {_AT}, {_AT}
        from generate_series(1, {MANY}) i;
        insert into open_problem (id, position, area, category, public, title, status, open, away, reported_at)
        select {id_of("problem")}, i, {_IN}, {_CATEGORY}, i % 4 > 0, 'Motor hilang ' || i,
               case when i % 99 = 0 then 'verified' else 'closed' end, i % 99 = 0, false, {_AT}
        from generate_series(1, {MANY}) i;""",
    "notifications": f"""
        insert into subscription (id, version, area, channel, categories, language, status, requested_at, confirmed_at,
                                  changed_at)
        select {id_of("subscription")}, 2, '{BUSY}', 'email', '[]', 'id', 'confirmed', {_AT}, {_AT}, {_AT}
        from generate_series(1, {SUBSCRIPTIONS}) i;
        insert into alert (id, position, version, area, category, headline, text, severity, urgency, certainty,
                           source_type, recipients, raised_at)
        select {id_of("alert")}, i, 1, {_IN}, {_CATEGORY}, '{{"id": "Waspada", "en": "Take care"}}',
               '{{"id": "Waspada", "en": "Take care"}}', 'minor', 'future', 'likely', 'ProblemVerified', 1, {_AT}
        from generate_series(1, {MANY}) i;
        insert into delivery (id, alert_id, subscription_id, lane, number, state, attempts, reason, queued_at,
                              changed_at, due_at)
        select {id_of("delivery")}, {id_of("alert")}, {id_of("subscription", 1)}, 'email alert', 1, 'sent', 1, '',
               {_AT}, {_AT}, {_AT} from generate_series(1, {MANY}) i
        union all
        select {id_of("other delivery")}, {id_of("alert", MANY)}, {id_of("subscription")}, 'email alert', i,
               case when i % 1000 = 0 then 'given_up' else 'sent' end, 1, '', {_AT}, {_AT}, {_AT}
        from generate_series(2, {SUBSCRIPTIONS}) i;""",
    "hub": f"""
        insert into problem (region, id, area, category, status, referral, reported_at, changed_at)
        select case when i % 10 > 0 then 'jatim' else 'region' || i % 38 end, {id_of("problem")},
               case when i % 7 = 0 then left({_IN}, 5) else {_IN} end,
               case when i % 7 = 0 then 'withheld' else {_CATEGORY} end,
               case when i % 101 = 0 then 'verified' else 'closed' end, case when i % 199 = 0 then 'referred' end,
               {_AT}, {_AT}
        from generate_series(1, {MANY}) i;
        insert into meeting (region, id, area, agreements, scheduled_at, held_at)
        select case when i % 10 > 0 then 'jatim' else 'region' || i % 38 end, {id_of("meeting")}, {_IN},
               case when i % 50 > 0 then i % 3 end, {_AT}, case when i % 50 > 0 then {_AT} end
        from generate_series(1, {MANY}) i;
        begin; {"; ".join((_COUNTING.FIND, *_COUNTING.FILL, *_MEETINGS.FILL))}; commit;""",
    "reports": f"""
        alter table log.event disable trigger append_only;
        insert into log.event (position, id, stream_id, version, type, schema_version, area, data, metadata,
                               recorded_at)
        select i, {id_of("event")}, {id_of("problem")}, 1, 'ProblemReported', {EVENT.schema_version}, {_IN},
               '{CODEC.encode(EVENT).decode()}', '{{}}', {_AT}
        from generate_series(1, {MANY}) i;
        update log.head set position = {MANY}, recorded_at = now();
        alter table log.event enable trigger append_only;""",
}


async def fill(region: RunningRegion) -> None:
    """Put them into the databases of a region's services and of a hub's."""
    for service in region.services:
        owner = await asyncpg.connect(region.region.database(service).owner_url)
        await owner.execute(_ROWS[service])
        await owner.execute("vacuum analyze")
        await owner.close()
