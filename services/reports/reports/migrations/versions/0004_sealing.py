"""Keys recorded with events; descriptions sealed, and the reporter and the exact place no longer among the rows."""

import sqlalchemy as sa
from alembic import op
from rembuk.postgres.migrations import SEALING_SCRIPTS, run_script
from rembuk.sealing.sealing import texts_of

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for script in SEALING_SCRIPTS:
        run_script(op, script)
    op.add_column("problem", sa.Column("event_id", sa.Uuid))
    op.add_column("problem", sa.Column("texts_of", sa.Uuid))
    op.add_column("problem", sa.Column("reporter_of", sa.Uuid))
    op.execute("update problem set event_id = event.id from log.event where event.position = problem.position")
    op.execute("update problem set reporter_of = split_part(reporter, ':', 3)::uuid where reporter <> ''")
    connection = op.get_bind()
    whose = [{"id": row.event_id, "whose": texts_of(row.event_id)} for row in connection.execute(_EVENTS)]
    if whose:
        connection.execute(_TEXTS_OF, whose)
    op.alter_column("problem", "event_id", nullable=False)
    op.alter_column("problem", "texts_of", nullable=False)
    for name in ("lat", "lon", "reporter"):
        op.drop_column("problem", name)
    ended = "reporter_of is not null and status in ('closed', 'rejected')"
    op.create_index("problem_ended", "problem", ["changed_at"], postgresql_where=sa.text(ended))


_EVENTS = sa.text("select event_id from problem").columns(sa.column("event_id", sa.Uuid))
_TEXTS_OF = sa.text("update problem set texts_of = :whose where event_id = :id").bindparams(
    sa.bindparam("whose", type_=sa.Uuid), sa.bindparam("id", type_=sa.Uuid)
)
