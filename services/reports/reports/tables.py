"""The read model of problems, as SQLAlchemy tables; migrations/ makes them."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
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
    Column("description", Text, nullable=False),
    Column("disclosure", Text, nullable=False),
    Column("lat", Float),
    Column("lon", Float),
    Column("reporter", Text, nullable=False),  # sealed; '' for an anonymous report
    Column("status", Text, nullable=False),
    Column("priority", Text),
    Column("root_cause", Text),
    Column("proposal", Text),
    Column("rejection", Text),
    Column("reported_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Index("problem_area", "area", "position", postgresql_ops={"area": "text_pattern_ops"}),
    Index("problem_status", "status", "position"),
)
