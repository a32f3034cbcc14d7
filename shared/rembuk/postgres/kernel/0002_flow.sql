-- What followers of streams remember: where they stand, what they could not take, what they have reacted to.
create table checkpoint (
    follower    text not null,
    stream      text not null,
    position    bigint not null default 0 check (position >= 0),
    recorded_at timestamptz,  -- when the event at `position` was recorded by its own service
    primary key (follower, stream)
);

-- Poison: the first event of an aggregate that a follower failed on, and the later ones of that aggregate behind it.
create table quarantine (
    follower       text not null,
    stream         text not null,
    position       bigint not null,
    stream_id      text not null,  -- the aggregate, as the message names it
    type           text not null,
    error          text not null,
    headers        json not null,
    data           bytea not null,
    quarantined_at timestamptz not null default now(),
    primary key (follower, stream, position)
);

-- Which events were reacted to, and what came of it; no replay or rebuild touches it.
create table reaction (
    follower   text not null,
    event_id   uuid not null,
    command    text not null,
    outcome    text not null check (outcome in ('done', 'refused')),
    detail     text not null default '',
    reacted_at timestamptz not null default now(),
    primary key (follower, event_id, command)
);

create index reaction_refused on reaction (follower) where outcome = 'refused';
