"""The read models of forums, as SQLAlchemy tables; migrations/ makes them."""

from rembuk.postgres.area_keys import area_indexes
from rembuk.sealing.persons import erased_table
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    false,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
ROOM = {"fillfactor": 85}
"""For a row's next version in its page, which then needs no entry in any index."""

forum = Table(
    "forum",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # of its ForumFounded
    Column("version", Integer, nullable=False),
    Column("area", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hall", Text, nullable=False),
    Column("founded_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    *area_indexes("forum", "position"),
    postgresql_with=ROOM,
)

member = Table(
    "member",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # of its MemberJoined
    Column("forum_id", Uuid, nullable=False),
    Column("pillar", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("sex", Text, nullable=False),
    Column("joined_at", DateTime(timezone=True), nullable=False),
    Index("member_forum", "forum_id", "position"),
)

meeting = Table(
    "meeting",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # of its MeetingScheduled
    Column("version", Integer, nullable=False),
    Column("forum_id", Uuid, nullable=False),
    Column("area", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("place", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("agenda", JSONB, nullable=False),  # ids of problems
    Column("attendance", JSONB, nullable=False),  # as in the contract, like the next two
    Column("agreements", JSONB, nullable=False),
    Column("promises", JSONB, nullable=False),
    Column("deferred", JSONB, nullable=False),  # ids of problems
    Column("held_position", BigInteger),  # of its ForumHeld
    Column("held_at", DateTime(timezone=True)),
    Column("scheduled_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    *area_indexes("meeting", "status", "position"),
    Index("meeting_status", "status", "position"),
    Index("meeting_forum", "forum_id", "status", "position"),
    postgresql_with=ROOM,
)

commitment = Table(
    "commitment",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # of its CommitmentMade
    Column("version", Integer, nullable=False),
    Column("forum_id", Uuid, nullable=False),
    Column("meeting_id", Uuid, nullable=False),
    Column("area", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("by", Date, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    *area_indexes("commitment", "status", "position"),
    Index("commitment_status", "status", "position"),
    Index("commitment_forum", "forum_id", "status", "position"),
    Index("commitment_meeting", "meeting_id", "position"),
    postgresql_with=ROOM,
)

CANDIDATE = "open and not away and status <> 'reported'"
"""What a forum may deliberate: open, here, and found to be so, for reports takes no solution to anything else."""

open_problem = Table(  # of the stream of reports: only what a forum may see, and nothing of the reporter
    "open_problem",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # of its ProblemReported, in the log of reports
    Column("area", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("public", Boolean, nullable=False),  # and not for the forum alone
    Column("title", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("open", Boolean, nullable=False),  # what is closed stays, for it may be reopened
    Column("away", Boolean, nullable=False, server_default=false()),  # in another region, or between two
    Column("priority", Text),
    Column("root_cause", Text),
    Column("reported_at", DateTime(timezone=True), nullable=False),
    *area_indexes("open_problem", "position", where=CANDIDATE),
    postgresql_with=ROOM,
)

erased = erased_table(metadata)
