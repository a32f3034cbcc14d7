-- What an operator took out of quarantine unread, and why: kept with all it held, so that the reason can be judged later.
create table skipped (
    follower       text not null,
    stream         text not null,
    position       bigint not null,
    stream_id      text not null,
    type           text not null,
    error          text not null,
    headers        json not null,
    data           bytea not null,
    quarantined_at timestamptz not null,
    why            text not null check (why <> ''),
    by_whom        text not null,
    skipped_at     timestamptz not null default now(),
    primary key (follower, stream, position)
);
