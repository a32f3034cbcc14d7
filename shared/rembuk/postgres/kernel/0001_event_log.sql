-- The event log of one service: the truth and the outbox at once.
-- Positions are dense (1, 2, 3 ... without a hole) because log.append() alone assigns them, under one row's lock.
create schema log;

create table log.head (
    one         boolean primary key default true check (one),
    position    bigint not null check (position >= 0),
    recorded_at timestamptz not null
);
insert into log.head values (true, 0, '-infinity');

create table log.event (
    position       bigint primary key,
    id             uuid not null unique,
    stream_id      uuid not null,
    version        integer not null check (version >= 1),
    type           text not null,
    schema_version smallint not null check (schema_version >= 1),
    area           text not null,
    data           json not null,
    metadata       json not null,
    recorded_at    timestamptz not null,
    unique (stream_id, version)
);

create function log.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the event log is append-only: % on log.event is refused', tg_op
        using errcode = 'insufficient_privilege';
end $$;

create trigger append_only before update or delete or truncate on log.event
    for each statement execute function log.refuse_change();
create trigger never_removed before delete or truncate on log.head
    for each statement execute function log.refuse_change();
