"""The event log, what followers remember, sealed persons' keys, and the read models of forums."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.bring_kernel_to(3)
    op.create_table(
        "forum",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, unique=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hall", sa.Text, nullable=False),
        sa.Column("founded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("forum_area", "forum", ["area", "position"], postgresql_ops={"area": "text_pattern_ops"})
    op.create_table(
        "member",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, unique=True),
        sa.Column("forum_id", sa.Uuid, nullable=False),
        sa.Column("pillar", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("sex", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("member_forum", "member", ["forum_id", "position"])
    op.create_table(
        "meeting",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, unique=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("forum_id", sa.Uuid, nullable=False),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("agenda", JSONB, nullable=False),
        sa.Column("attendance", JSONB, nullable=False),
        sa.Column("agreements", JSONB, nullable=False),
        sa.Column("promises", JSONB, nullable=False),
        sa.Column("deferred", JSONB, nullable=False),
        sa.Column("minutes", sa.Text, nullable=False),
        sa.Column("held_position", sa.BigInteger),
        sa.Column("held_at", sa.DateTime(timezone=True)),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("meeting_area", "meeting", ["area", "position"], postgresql_ops={"area": "text_pattern_ops"})
    op.create_index("meeting_forum", "meeting", ["forum_id", "position"])
    op.create_table(
        "commitment",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, unique=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("forum_id", sa.Uuid, nullable=False),
        sa.Column("meeting_id", sa.Uuid, nullable=False),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("by", sa.Date, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("commitment_area", "commitment", ["area", "position"], postgresql_ops={"area": "text_pattern_ops"})
    op.create_index("commitment_forum", "commitment", ["forum_id", "position"])
    op.create_index("commitment_meeting", "commitment", ["meeting_id", "position"])
    op.create_table(
        "open_problem",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, unique=True),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("priority", sa.Text),
        sa.Column("root_cause", sa.Text),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index(
        "open_problem_area", "open_problem", ["area", "position"], postgresql_ops={"area": "text_pattern_ops"}
    )
