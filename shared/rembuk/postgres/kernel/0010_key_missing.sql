-- Whose key is gone, or never came back with what is sealed under it: noted as it goes, so that nobody has to look for them
-- among a million.
-- A row says that the key was missing once: who reads it asks vault_key and the log again, and the eraser takes out
-- whoever is erased since. `restore` notes whose keys did not come with what it adds.
create table key_missing (person uuid primary key);

create function note_keys_gone() returns trigger language plpgsql as $$
begin
    insert into public.key_missing select person from gone on conflict do nothing;
    return null;
end $$;
create trigger noted_when_gone after delete on vault_key
    referencing old table as gone for each statement execute function note_keys_gone();

create function note_all_keys_gone() returns trigger language plpgsql as $$
begin
    insert into public.key_missing select person from public.vault_key on conflict do nothing;
    return null;
end $$;
create trigger all_noted_when_gone before truncate on vault_key
    for each statement execute function note_all_keys_gone();

-- Whether one person is erased. The condition is spelled so that no other index answers it: where many were erased since
-- the statistics were taken, PostgreSQL would go through all of them, by event_erased, for each one.
create index event_erased_person on log.event ((data ->> 'person')) where type || '' = 'PersonErased';

-- Whoever restores keys out of a backup, which no service may, brings nobody back who is erased. The condition spares
-- log.append(): there the session is the service's and the user the owner.
create function keep_erased_out() returns trigger language plpgsql as $$
begin
    if exists (select from log.event where type || '' = 'PersonErased' and data ->> 'person' = new.person::text) then
        return null;
    end if;
    return new;
end $$;
create trigger erased_stay_out before insert on vault_key for each row
    when (session_user = current_user and has_table_privilege('log.event', 'insert'))
    execute function keep_erased_out();

-- Who is sealed in the events of the log after one position up to another, by the first of them: in fields that are declared to
-- be sealed, a type and a field each, and not in what only looks like it. (One regular expression for it all takes 20 times as
-- long.)
create function sealed_in_log(types text[], fields text[], after bigint, until bigint)
    returns table (person uuid, area text, "position" bigint) language sql stable as $$
    select distinct on (1) substring(told from 11 for 36)::uuid, event.area, event.position
    from log.event
    join unnest(types, fields) as declared (type, field) on declared.type = event.type
    cross join lateral (select event.data ->> field as told offset 0) as sealed
    where event.position > after and event.position <= until
      and told like 'sealed:v1:________-____-____-____-____________:%'
      and translate(substring(told from 11 for 36), '0123456789abcdef', '') = '----'
      and length(told) >= 85
      and substring(told from 48) !~ '[^A-Za-z0-9_-]'
    order by 1, 3
$$;
