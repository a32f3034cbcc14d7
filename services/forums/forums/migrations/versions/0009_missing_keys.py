"""Whose keys are missing, noted as they go: at first by the log, by what was sealed in this release."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

SEALED = {
    "MemberJoined": ("name",),
    "ForumHeld": ("minutes",),
    "CommitmentKept": ("note",),
    "CommitmentMissed": ("note",),
}
PAGE = 100_000
_NOTE = """insert into key_missing
           select person from sealed_in_log(array[{types}], array[{fields}], {after}, {after} + {page}) as sealed
           where not exists (select from vault_key where vault_key.person = sealed.person)
             and not exists (select from log.event
                             where type || '' = 'PersonErased' and data ->> 'person' = sealed.person::text)"""


def upgrade() -> None:
    op.bring_kernel_to(10)
    pairs = [(event, field) for event, fields in SEALED.items() for field in fields]
    types, fields = (", ".join(f"'{word}'" for word in words) for words in zip(*pairs, strict=True))
    head = op.get_bind().execute(sa.text("select position from log.head")).scalar_one()
    for after in range(0, head, PAGE):
        op.execute(_NOTE.format(types=types, fields=fields, after=after, page=PAGE))
