"""The read model of subscriptions and alerts, and the ledger of deliveries, as SQLAlchemy tables; migrations/ makes
them. What the log says is authoritative: the sender asks it before each message."""

from rembuk.operations.side_model import KEPT
from rembuk.postgres.area_keys import area_indexes
from rembuk.sealing.persons import erased_table
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

subscription = Table(
    "subscription",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("area", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("categories", JSONB, nullable=False),  # a list of codes; [] for all
    Column("language", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("confirmed_at", DateTime(timezone=True)),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    # the sender's: the vault's mark of where it leads, '' until something was sent there and when it is stopped
    Column("contact", LargeBinary, nullable=False, server_default="", info=KEPT),
    Index("subscription_area", "area", postgresql_where=text("status = 'confirmed'")),
    Index("subscription_unconfirmed", "requested_at", postgresql_where=text("status = 'requested'")),
    Index("subscription_contact", "contact", postgresql_where=text("contact <> ''")),
)

alert = Table(
    "alert",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # of its AlertRaised
    Column("version", Integer, nullable=False),
    Column("area", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("headline", JSONB, nullable=False),
    Column("text", JSONB, nullable=False),
    Column("severity", Text, nullable=False),
    Column("urgency", Text, nullable=False),
    Column("certainty", Text, nullable=False),
    Column("about", Uuid),
    Column("source_id", Uuid),
    Column("source_type", Text, nullable=False),
    Column("recipients", Integer, nullable=False),
    Column("raised_at", DateTime(timezone=True), nullable=False),
    Column("corrects", Uuid),
    Column("withdrawn_at", DateTime(timezone=True)),
    Index("alert_about", "about", postgresql_where=text("about is not null")),
    *area_indexes("alert", "position"),
    Index("alert_category", "category", "position"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("alert_id", Uuid),  # none: it delivers the code that confirms the subscription
    Column("subscription_id", Uuid, nullable=False),
    Column("lane", Text, nullable=False, server_default=""),  # the channel, and whether it is an alert or a code
    Column("rank", SmallInteger, nullable=False, server_default="0"),  # by severity: within a lane the highest first
    Column("number", Integer, nullable=False),  # among the deliveries of its alert, from 1
    Column("state", Text, nullable=False),  # queued, failed (to be tried again), sent, given_up, called_off
    Column("attempts", Integer, nullable=False),
    Column("reason", Text, nullable=False),  # why the last attempt failed
    Column("queued_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False, info=KEPT),  # the sender's: when it may be taken (again)
    Index("delivery_due", "lane", "rank", "due_at", postgresql_where=text("state in ('queued', 'failed')")),
    Index("delivery_of_alert", "alert_id", "state", "number"),
)

erased = erased_table(metadata)

beside = MetaData()
"""What no events are projected into."""

contact = Table(  # what is remembered of where messages lead, by the vault's mark of it, for nobody can read it here
    "contact",
    beside,
    Column("mark", LargeBinary, primary_key=True),
    Column("codes", Integer, nullable=False, server_default="0"),  # how many were sent without a confirmation
    Column("code_at", DateTime(timezone=True), nullable=False, server_default=func.now()),  # when the last was sent
    Column("code_for", Text, nullable=False, server_default=""),
    Column("bounced_at", DateTime(timezone=True)),  # since when it is refused for good; null once something arrives
)
