-- The keys of persons, one each, wrapped by the region's key: who has no row here can be read by nobody any more.
-- Erasing a person is deleting the row; nothing else holds the key.
create table vault_key (
    person     uuid primary key,
    wrapped    bytea not null check (octet_length(wrapped) = 60),  -- nonce 12, key 32, tag 16
    key_id     text not null check (key_id ~ '^[0-9a-f]{8}$'),  -- of the region key that wraps it
    created_at timestamptz not null default now()
);
