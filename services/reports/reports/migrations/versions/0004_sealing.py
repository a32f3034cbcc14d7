"""Keys recorded with events; descriptions sealed, and the reporter and the exact place no longer among the rows."""

from uuid import UUID, uuid5

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NAMESPACE = UUID("5f0c2f6e-6f0a-5c1b-9a51-2c7a1f0b3d4e")
"""Of every id derived in this release."""


def upgrade() -> None:
    op.bring_kernel_to(7)
    op.add_column("problem", sa.Column("event_id", sa.Uuid))
    op.add_column("problem", sa.Column("texts_of", sa.Uuid))
    op.add_column("problem", sa.Column("reporter_of", sa.Uuid))
    op.execute("update problem set event_id = event.id from log.event where event.position = problem.position")
    op.execute("update problem set reporter_of = split_part(reporter, ':', 3)::uuid where reporter <> ''")
    connection = op.get_bind()
    whose = [{"row": id, "whose": uuid5(NAMESPACE, f"texts\x1f{event}")} for id, event in connection.execute(_EVENTS)]
    if whose:
        connection.execute(_TEXTS_OF, whose)
    op.alter_column("problem", "event_id", nullable=False)
    op.alter_column("problem", "texts_of", nullable=False)
    for name in ("lat", "lon", "reporter"):
        op.drop_column("problem", name)
    ended = "reporter_of is not null and status in ('closed', 'rejected')"
    op.create_index("problem_ended", "problem", ["changed_at"], postgresql_where=sa.text(ended))


_EVENTS = sa.text("select id, event_id from problem").columns(sa.column("id", sa.Uuid), sa.column("event_id", sa.Uuid))
_TEXTS_OF = sa.text("update problem set texts_of = :whose where id = :row").bindparams(
    sa.bindparam("whose", type_=sa.Uuid), sa.bindparam("row", type_=sa.Uuid)
)
