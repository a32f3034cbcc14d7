-- Who vouches for the tree heads of our log, and for whose heads we vouch.

-- By whom heads were signed, so that a key is still published when it is lost; and who cosigned which head. Like the
-- heads, none of it is ever changed.
create table log.tree_key (
    verifier_key text primary key,
    since        timestamptz not null default now()
);
create table log.tree_cosignature (
    size        bigint not null,
    witness     text not null,
    line        text not null,
    cosigned_at timestamptz not null,
    primary key (size, witness)
);
comment on column log.tree_cosignature.line is 'As it stands under the head''s note: c2sp.org/tlog-cosignature.';

create function log.add_tree_key(verifier_key text)
    returns void language sql security definer set search_path = log, pg_temp as $$
    insert into tree_key (verifier_key) values ($1) on conflict do nothing
$$;
create function log.add_tree_cosignature(size bigint, witness text, line text, cosigned_at timestamptz)
    returns void language sql security definer set search_path = log, pg_temp as $$
    insert into tree_cosignature (size, witness, line, cosigned_at)
        select tree_head.size, $2, $3, $4 from tree_head where tree_head.size = $1 on conflict do nothing
$$;

create trigger append_only before update or delete or truncate on log.tree_key
    for each statement execute function log.refuse_change();
create trigger append_only before update or delete or truncate on log.tree_cosignature
    for each statement execute function log.refuse_change();

-- Whom we ask: the size of the head that each cosigned last and when (null: never), and since when and why it does
-- not answer as it should.
create table witness (
    verifier_key  text primary key,
    size          bigint not null default 0,
    cosigned_at   timestamptz,
    failing_since timestamptz,
    failure       text not null default ''
);

-- Whose heads we cosign: the last one of each log, from which the next must go on.
create table witnessed (
    origin      text primary key,
    size        bigint not null check (size >= 0),
    root        bytea not null check (length(root) = 32),
    note        text not null,
    cosigned_at timestamptz not null default now()
);
