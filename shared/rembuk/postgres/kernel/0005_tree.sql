-- The Merkle tree over the log, leaf n being the event at position n + 1: what was signed of it, and the pieces from
-- which proofs are made. Nothing of it is ever changed.
create table log.tree_node (
    level smallint not null check (level > 0 and level % 8 = 0),
    index bigint not null check (index >= 0),
    hash  bytea not null check (length(hash) = 32),
    primary key (level, index)
);
comment on table log.tree_node is 'Hashes of the subtrees of 256, 65536, ... leaves, written when they are complete.';

create table log.tree_head (
    size        bigint primary key check (size > 0),
    note        text not null,
    leaves      bytea not null,
    unpublished bytea not null check (length(unpublished) = 32),
    signed_at   timestamptz not null default now()
);
comment on column log.tree_head.note is 'The tree head as signed: c2sp.org/tlog-checkpoint.';
comment on column log.tree_head.leaves is 'The hashes of the leaves since the head before, so that an altered event is found.';
comment on column log.tree_head.unpublished is 'SHA-256 of what these events hold and do not publish: their fingerprints.';

-- Add a tree head and the nodes completed since the one before. It may only go on from there.
create function log.add_tree_head(
    size bigint, note text, leaves bytea, unpublished bytea, levels smallint[], indexes bigint[], hashes bytea[]
) returns void language plpgsql security definer set search_path = log, pg_temp as $$
declare
    before bigint := (select coalesce(max(tree_head.size), 0) from tree_head);
begin
    if size <= before or length(leaves) <> 32 * (size - before) or size > (select position from head) then
        raise exception 'a tree head of size % does not go on from one of size %', size, before
            using errcode = 'check_violation';
    end if;
    insert into tree_node (level, index, hash) select * from unnest(levels, indexes, hashes);
    insert into tree_head (size, note, leaves, unpublished) values (size, note, leaves, unpublished);
end $$;

create trigger append_only before update or delete or truncate on log.tree_node
    for each statement execute function log.refuse_change();
create trigger append_only before update or delete or truncate on log.tree_head
    for each statement execute function log.refuse_change();
