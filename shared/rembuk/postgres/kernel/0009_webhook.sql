-- Up to where each partner that has a webhook was sent this service's events. Its rows are no read model: a rebuild
-- leaves them alone. `due_at`: not before then; `stopped`: the receiver wants no more (410) until somebody sets it back.
create table webhook (
    partner       text primary key,
    position      bigint not null default 0 check (position >= 0),
    due_at        timestamptz not null default now(),
    attempts      integer not null default 0 check (attempts >= 0),
    failing_since timestamptz,
    failure       text not null default '',
    stopped       boolean not null default false
);
