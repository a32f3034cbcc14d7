"""The read model of problems, as SQLAlchemy tables; migrations/ makes them."""

from rembuk.postgres.area_keys import AREA_KEYS, LEVEL_NAMES
from rembuk.sealing.persons import erased_table
from sqlalchemy import (
    BigInteger,
    Boolean,
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

STANDING = "coalesce(referral, status)"
"""How a problem stands, at home or between two regions."""
ENDED = ("closed", "rejected")


def stage_of(status: str, between: str) -> str:
    """The SQL of the stage of a status, `between` being the SQL of whether it is one between two regions."""
    return f"case when {between} then 'between' when {status} in {ENDED} then 'ended' else 'open' end"


STAGE = stage_of("status", "referral is not null")
STAGES = ("open", "ended", "between")
"""What statuses have in common, so that a list of every status is a merge of three walks and not of thirteen."""
PUBLIC_ALONE = ("district_stage", "village_stage", *(f"{level}_category_stage" for level in LEVEL_NAMES.values()))
"""The indexes of public problems alone: no other is found by its category, nor by an area below its regency."""

problem = Table(
    "problem",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # of its ProblemReported, or of the first offer
    Column("version", Integer, nullable=False),
    Column("area", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),  # sealed, but in clear where it was recorded so
    Column("event_id", Uuid, nullable=False),  # of the event in which it is sealed
    Column("texts_of", Uuid, nullable=False),  # under whose key, as an opaque person
    Column("reporter_of", Uuid),  # the reporter as an opaque person; none of an anonymous report
    Column("disclosure", Text, nullable=False),
    Column("public", Boolean, nullable=False),  # by `rembuk.contracts.disclosure`
    Column("status", Text, nullable=False),  # at home
    Column("referral", Text),  # the status that it has instead while it is not at home
    Column("referred_from", Text),  # the region that offered it to us
    Column("referred_to", Text),  # the region that it was offered to and that did not leave it to us
    Column("priority", Text),
    Column("root_cause", Text),
    Column("proposal", Text),
    Column("rejection", Text),
    Column("reported_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Index("problem_newest", "reported_at", "position"),
    *(  # in the order of a page, for what is asked in `listing`
        Index(
            f"problem_{level}_{more}",
            text(key),
            *columns,
            text(f"({STAGE})"),
            "reported_at",
            "position",
            text(f"({STANDING})"),  # last: a walk passes by what stands otherwise without reading its row
            postgresql_where=text("public") if f"{level}_{more}" in PUBLIC_ALONE else None,
        )
        for level, key in zip(LEVEL_NAMES.values(), AREA_KEYS.values(), strict=True)
        for more, columns in (("stage", ()), ("category_stage", ("category",)))
    ),
    Index(  # for retention; an index on `changed_at` would be written to by every event
        "problem_ended",
        "reported_at",
        postgresql_where=text(
            "reporter_of is not null and (status in ('closed', 'rejected') or referral = 'handed_over')"
        ),
    ),
    postgresql_with={"fillfactor": 90},  # room for a row's next version, which then needs no entry in any index
)

elsewhere = Table(  # what other regions recorded of problems that are, or were, here: as in log.event there
    "elsewhere",
    metadata,
    Column("id", Uuid, primary_key=True),  # derived, for the event's own may be that of one of ours
    Column("heard", Boolean, nullable=False),  # from the inbox, and not as an offer tells it
    Column("region", Text),  # null where the event names none: the one that spoke last of this problem
    Column("event_id", Uuid, nullable=False),
    Column("stream_id", Uuid, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("area", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Index("elsewhere_stream", "stream_id", "recorded_at"),
)

erased = erased_table(metadata)

beside = MetaData()
"""What no events are projected into."""

other_region = Table(
    "other_region",
    beside,
    Column("name", Text, primary_key=True),
    Column("public_key", Text, nullable=False),
    Column("heard_at", DateTime(timezone=True), nullable=False),  # -infinity: the hub tells of it no more
)
