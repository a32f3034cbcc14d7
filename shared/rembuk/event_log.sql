-- The event log of one service: the truth and the outbox at once. Run once by its first migration, as owner.
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

-- Appends many items, each the new events of one stream: they are recorded together or not at all, and one
-- item's conflict never fails its neighbours. Item n is for stream_ids[n] at expected_versions[n] (0: a new stream)
-- and begins with the event first_ids[n]; the arrays after `items` run parallel, one place an event, in the order of
-- items, `items` telling to which each belongs. No two items of a call may name one stream (the caller sees to that).
-- Returns the position before the first new event, the time, and a verdict an item: 'appended'; 'conflict' where the
-- stream is not at its expected version; 'known' where its first event is in the log already (a retry).
-- Scalar subqueries and the settings keep the plan on the indexes, whatever the table's size when it was made.
create function log.append(
    stream_ids uuid[], expected_versions integer[], first_ids uuid[],
    items integer[], ids uuid[], types text[], schema_versions smallint[], areas text[], datas json[], metadatas json[],
    out base bigint, out at timestamptz, out verdicts text[]
) language plpgsql security definer
  set search_path = log, pg_temp set enable_seqscan = off set enable_hashjoin = off as $$
declare
    added bigint;
begin
    select h.position, greatest(h.recorded_at, clock_timestamp()) into base, at from head h for update;

    select array_agg(
               case
                   when (select position from event where id = item.first_id) is not null then 'known'
                   when (select position from event
                         where stream_id = item.stream_id and version = item.expected_version + 1) is not null
                     or item.expected_version > 0
                        and (select position from event
                             where stream_id = item.stream_id and version = item.expected_version) is null
                       then 'conflict'
                   else 'appended'
               end order by n)
        into verdicts
        from unnest(stream_ids, expected_versions, first_ids)
             with ordinality as item (stream_id, expected_version, first_id, n);

    insert into event (position, id, stream_id, version, type, schema_version, area, data, metadata, recorded_at)
        select base + row_number() over (order by n), id, stream_ids[item],
               expected_versions[item] + row_number() over (partition by item order by n),
               type, schema_version, area, data, metadata, at
        from unnest(items, ids, types, schema_versions, areas, datas, metadatas)
             with ordinality as new (item, id, type, schema_version, area, data, metadata, n)
        where verdicts[item] = 'appended';
    get diagnostics added = row_count;

    if added > 0 then
        update head set position = base + added, recorded_at = at;
        notify event_log;
    end if;
end $$;

create function log.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the event log is append-only: % on log.event is refused', tg_op
        using errcode = 'insufficient_privilege';
end $$;

create trigger append_only before update or delete or truncate on log.event
    for each statement execute function log.refuse_change();
create trigger never_removed before delete or truncate on log.head
    for each statement execute function log.refuse_change();
