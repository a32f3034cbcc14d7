"""The read model of the hub, and how the regions' streams stand, as SQLAlchemy tables; migrations/ makes them.

A problem that one region refers to another has one id in both, and a row of each; it is at home in one. Before ids of
problems depended on the region, whoever reported in two regions under one idempotency key had one id in both, too.
"""

from typing import get_args

from rembuk.contracts.status import Status
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

metadata = MetaData()
ROOM = {"fillfactor": 90}
"""For the next version of a count in its page."""

WITHHELD = "withheld"
"""What stands in place of the category of a problem that is not public: no category has this code."""

STANDING = "coalesce(problem.referral, problem.status)"
"""How a problem stands in the region that a row is of."""

_ORDER, _STANDING = ("reported_at", "region", "id"), text(STANDING)
"""Of a list, newest first."""

problem = Table(
    "problem",
    metadata,
    Column("region", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("area", Text, nullable=False),  # of a problem that is not public its regency
    Column("category", Text, nullable=False),  # WITHHELD of such a one
    Column("status", Text, nullable=False),  # at home
    Column("referral", Text),  # the status that it has instead while it is not at home
    Column("reported_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Index("problem_reported", *_ORDER, _STANDING, "category"),
    Index("problem_regency", text("left(area, 5)"), _STANDING, *_ORDER, "category"),
    Index("problem_place", "area", _STANDING, *_ORDER, "category"),
    Index("problem_id", "id"),
)

moved = Table(  # the referred problems that another region has accepted while their own has not heard of it
    "moved",
    metadata,
    Column("region", Text, nullable=False),
    Column("id", Uuid, nullable=False),
    PrimaryKeyConstraint("id", "region"),
)

STATUSES: tuple[Status, ...] = get_args(Status)

problem_count = Table(  # see hub.counting
    "problem_count",
    metadata,
    Column(
        "level", SmallInteger, primary_key=True, autoincrement=False
    ),  # letters of the area's code; below 0: of a day
    Column("month", Date, primary_key=True),  # its first day, in UTC; -infinity for all time; the day of a day's row
    Column("area", Text(collation="C"), primary_key=True),
    Column("region", Text, primary_key=True),
    Column("category", Text, primary_key=True),  # "" for every one together
    Column("moved", Boolean, primary_key=True),  # it takes off what is in `moved`: `referred` is less than 0
    *(Column(status, Integer, nullable=False) for status in STATUSES),  # how many problems stand so
    Index("problem_count_moved", "level", postgresql_where=text("moved")),
    postgresql_with=ROOM,
)

meeting = Table(
    "meeting",
    metadata,
    Column("region", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("area", Text, nullable=False),
    Column("agreements", Integer),  # null until it is held
    Column("scheduled_at", DateTime(timezone=True), nullable=False),
    Column("held_at", DateTime(timezone=True)),
    Index("meeting_scheduled", "scheduled_at"),
)

meeting_count = Table(  # see hub.deliberating
    "meeting_count",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),  # as in problem_count, and so month
    Column("month", Date, primary_key=True),
    Column("area", Text(collation="C"), primary_key=True),
    Column("region", Text, primary_key=True),
    Column("meetings", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("agreements", Integer, nullable=False),
    postgresql_with=ROOM,
)

activity = Table(
    "activity",
    metadata,
    Column("id", Text, primary_key=True),  # of the other columns but the last
    Column("region", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("month", Date, nullable=False),  # its first day, in UTC
    Column("events", BigInteger, nullable=False),
)

beside = MetaData()
"""What no events are projected into."""

region = Table(
    "region",
    beside,
    Column("name", Text, primary_key=True),
    Column("admitted_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
)

region_stream = Table(  # as the last look at it found it
    "region_stream",
    beside,
    Column("region", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),  # the last one that the hub's mirror holds
    Column("shown", BigInteger, nullable=False),  # the last one in the read model
    Column("region_position", BigInteger, nullable=False),  # the region's own, when it last answered
    Column("state", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),  # when that state began
    Column("moved_at", DateTime(timezone=True), nullable=False),  # since when the mirror could have moved and has not
    Column("looked_at", DateTime(timezone=True), nullable=False),
    Column("answered_at", DateTime(timezone=True)),  # when the region last did
    Column("missing_since", DateTime(timezone=True)),  # when the first event was recorded that is not shown
    Column("diverged_at", BigInteger),  # where the region's stream holds another event than the mirror
    Column("error", Text, nullable=False),
)

inbox = Table(  # what other regions say to one, as they published it
    "inbox",
    beside,
    Column("region", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("headers", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

inbox_read = Table(  # behind which position a region asked last
    "inbox_read",
    beside,
    Column("region", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("asked_at", DateTime(timezone=True), nullable=False),
)

referral = Table(
    "referral",
    beside,
    Column("receiver", Text, primary_key=True),
    Column("problem_id", Text, primary_key=True),
    Column("origin", Text, primary_key=True),
    Column("accepted", Boolean, nullable=False),
)

introduced = Table(  # by which key others seal for a region: the first that it told
    "introduced",
    beside,
    Column("region", Text, primary_key=True),
    Column("public_key", Text, nullable=False),
    Column("introduced_at", DateTime(timezone=True), nullable=False),
)
