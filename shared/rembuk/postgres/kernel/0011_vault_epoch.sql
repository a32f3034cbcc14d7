-- In which epoch a vault is. One ends when a key is destroyed or altered: what was opened by a key within the epoch that still
-- is can be shown again without asking for the key.
create table vault_epoch (
    one   boolean primary key default true check (one),
    epoch uuid not null default gen_random_uuid()
);
insert into vault_epoch default values;

create function end_vault_epoch() returns trigger language plpgsql as $$
begin
    if tg_op <> 'TRUNCATE' then
        if not exists (select from changed) then  -- a statement that found nothing to do, as each append of new keys
            return null;
        end if;
    end if;
    update public.vault_epoch set epoch = gen_random_uuid();
    return null;
end $$;
create trigger epoch_ends_with_delete after delete on vault_key
    referencing old table as changed for each statement execute function end_vault_epoch();
create trigger epoch_ends_with_update after update on vault_key
    referencing old table as changed for each statement execute function end_vault_epoch();
create trigger epoch_ends_with_truncate after truncate on vault_key for each statement execute function end_vault_epoch();
