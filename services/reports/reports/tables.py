"""The read model of problems, as SQLAlchemy tables; migrations/ makes them."""

from rembuk.persons import erased_table
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)

metadata = MetaData()

problem = Table(
    "problem",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # of its ProblemReported
    Column("version", Integer, nullable=False),
    Column("area", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),  # sealed, but in clear where it was recorded so
    Column("event_id", Uuid, nullable=False),  # of the event in which it is sealed
    Column("texts_of", Uuid, nullable=False),  # under whose key, as an opaque person
    Column("reporter_of", Uuid),  # the reporter as an opaque person; none of an anonymous report
    Column("disclosure", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("priority", Text),
    Column("root_cause", Text),
    Column("proposal", Text),
    Column("rejection", Text),
    Column("reported_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Index("problem_area", "area", "position", postgresql_ops={"area": "text_pattern_ops"}),
    Index("problem_status", "status", "position"),
    Index(  # for retention
        "problem_ended",
        "changed_at",
        postgresql_where=text("reporter_of is not null and status in ('closed', 'rejected')"),
    ),
)

erased = erased_table(metadata)
