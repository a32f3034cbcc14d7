-- How the event log grows: by this function alone. It takes the place of a first one, which knew nothing of keys.
drop function if exists log.append(
    uuid[], integer[], uuid[], integer[], uuid[], text[], smallint[], text[], json[], json[]
);

-- Appends many items, each the new events of one stream: they are recorded together or not at all, and one
-- item's conflict never fails its neighbours. Item n is for stream_ids[n] at expected_versions[n] (0: a new stream)
-- and begins with the event first_ids[n]; the arrays after `items` run parallel, one place an event, in the order of
-- items, `items` telling to which each belongs. No two items of a call may name one stream (the caller sees to that).
-- New keys of persons (each for one of `key_items`) are kept where their item is appended: a key and the event sealed under
-- it are there together or not at all. Whatever key a person had then was never used: its event is the one appended now.
-- Returns the position before the first new event, the time, and a verdict an item: 'appended'; 'conflict' where the
-- stream is not at its expected version; 'known' where its first event is in the log already (a retry).
-- Scalar subqueries and the settings keep the plan on the indexes, whatever the table's size when it was made.
create function log.append(
    stream_ids uuid[], expected_versions integer[], first_ids uuid[],
    items integer[], ids uuid[], types text[], schema_versions smallint[], areas text[], datas json[], metadatas json[],
    key_items integer[] default '{}', persons uuid[] default '{}', wrapped_keys bytea[] default '{}',
    key_ids text[] default '{}',
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

    if cardinality(key_items) > 0 then
        insert into public.vault_key (person, wrapped, key_id)
            select person, wrapped, key_id
            from unnest(key_items, persons, wrapped_keys, key_ids) as new (item, person, wrapped, key_id)
            where verdicts[item] = 'appended'
            on conflict (person) do update set wrapped = excluded.wrapped, key_id = excluded.key_id;
    end if;

    if added > 0 then
        update head set position = base + added, recorded_at = at;
        notify event_log;
    end if;
end $$;
