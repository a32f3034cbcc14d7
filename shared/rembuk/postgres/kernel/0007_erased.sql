-- Who was erased, so that rows show it: a read model of every service, made of its PersonErased events.
create table erased (
    id        uuid primary key,  -- the opaque person
    ground    text not null,
    erased_at timestamptz not null
);

-- For whoever destroys the keys again after a backup brought them back: see rembuk.sealing.erasing.
create index event_erased on log.event (position) where type = 'PersonErased';
