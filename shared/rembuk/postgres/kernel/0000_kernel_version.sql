-- Which version the kernel's tables have: the number of the last of these files that was run. This one runs before each upgrade.
create table if not exists kernel_version (
    one     boolean primary key default true check (one),
    version integer not null check (version >= 0),
    since   timestamptz not null default now()
);

-- Databases from before there were versions are known by their tables: a migration of the service made them, in this order.
insert into kernel_version (version) select case
    when to_regclass('vault_epoch') is not null then 11
    when to_regclass('key_missing') is not null then 10
    when to_regclass('webhook') is not null then 9
    when to_regclass('witness') is not null then 8
    when to_regclass('erased') is not null then 7
    when to_regclass('log.tree_node') is not null then 5
    when to_regclass('skipped') is not null then 4
    when to_regclass('vault_key') is not null then 3
    else 0
end on conflict do nothing;
