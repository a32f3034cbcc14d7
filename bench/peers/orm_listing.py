"""The peer of our other lists: an ordinary FastAPI + SQLAlchemy ORM service on the very tables and indexes that ours
reads, of forums, of notifications, of the hub or of a log."""

from __future__ import annotations

import os
from datetime import date, datetime
from typing import Any, TypeVar
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, DateTime, ForeignKey, Select, column, func, or_, select, table, tuple_
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Member(Base):
    __tablename__ = "member"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    forum_id: Mapped[UUID] = mapped_column(ForeignKey("forum.id"))
    pillar: Mapped[str]
    role: Mapped[str]
    sex: Mapped[str]


class Forum(Base):
    __tablename__ = "forum"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    version: Mapped[int]
    area: Mapped[str]
    model: Mapped[str]
    name: Mapped[str]
    hall: Mapped[str]
    founded_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    members: Mapped[list[Member]] = relationship(lazy="selectin")


class Meeting(Base):
    __tablename__ = "meeting"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    version: Mapped[int]
    forum_id: Mapped[UUID] = mapped_column()
    area: Mapped[str]
    at: Mapped[datetime]
    place: Mapped[str]
    status: Mapped[str]
    agenda: Mapped[list[Any]]
    attendance: Mapped[list[Any]]
    agreements: Mapped[list[Any]]
    promises: Mapped[list[Any]]
    deferred: Mapped[list[Any]]
    held_at: Mapped[datetime | None]
    scheduled_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    members: Mapped[int] = column_property(
        select(func.count(Member.id)).where(Member.forum_id == forum_id).scalar_subquery()
    )


class Commitment(Base):
    __tablename__ = "commitment"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    version: Mapped[int]
    forum_id: Mapped[UUID]
    meeting_id: Mapped[UUID]
    area: Mapped[str]
    who: Mapped[str]
    what: Mapped[str]
    by: Mapped[date]
    status: Mapped[str]
    reason: Mapped[str | None]
    made_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class OpenProblem(Base):
    __tablename__ = "open_problem"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    area: Mapped[str]
    category: Mapped[str]
    public: Mapped[bool]
    title: Mapped[str]
    status: Mapped[str]
    open: Mapped[bool]
    away: Mapped[bool]
    priority: Mapped[str | None]
    root_cause: Mapped[str | None]
    reported_at: Mapped[datetime]


class Alert(Base):
    __tablename__ = "alert"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    version: Mapped[int]
    area: Mapped[str]
    category: Mapped[str]
    headline: Mapped[dict[str, Any]]
    text: Mapped[dict[str, Any]]
    severity: Mapped[str]
    urgency: Mapped[str]
    certainty: Mapped[str]
    about: Mapped[UUID | None]
    source_id: Mapped[UUID | None]
    source_type: Mapped[str]
    recipients: Mapped[int]
    raised_at: Mapped[datetime]
    corrects: Mapped[UUID | None]
    withdrawn_at: Mapped[datetime | None]


class Subscription(Base):
    __tablename__ = "subscription"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    channel: Mapped[str]


class Delivery(Base):
    __tablename__ = "delivery"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    alert_id: Mapped[UUID | None]
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"))
    subscription: Mapped[Subscription] = relationship(lazy="joined", innerjoin=True)
    number: Mapped[int]
    state: Mapped[str]
    attempts: Mapped[int]
    reason: Mapped[str]
    queued_at: Mapped[datetime]
    changed_at: Mapped[datetime]

    @property
    def channel(self) -> str:
        return self.subscription.channel


class Problem(Base):
    __tablename__ = "problem"
    region: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    area: Mapped[str]
    category: Mapped[str]
    status: Mapped[str]
    referral: Mapped[str | None]
    reported_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class Event(Base):
    __tablename__ = "event"
    __table_args__ = {"schema": "log"}  # noqa: RUF012
    position: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    stream_id: Mapped[UUID]
    version: Mapped[int]
    type: Mapped[str]
    schema_version: Mapped[int]
    area: Mapped[str]
    data: Mapped[dict[str, Any]]
    recorded_at: Mapped[datetime]


class Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ShownMember(Shown):
    pillar: str
    role: str
    sex: str


class ShownForum(Shown):
    id: UUID
    version: int
    area: str
    model: str
    name: str
    hall: str
    members: list[ShownMember]
    founded_at: datetime
    changed_at: datetime


class ShownMeeting(Shown):
    id: UUID
    version: int
    forum_id: UUID
    area: str
    at: datetime
    place: str
    status: str
    agenda: list[Any]
    attendance: list[Any]
    agreements: list[Any]
    promises: list[Any]
    deferred: list[Any]
    held_at: datetime | None
    members: int
    scheduled_at: datetime
    changed_at: datetime


class ShownCommitment(Shown):
    id: UUID
    version: int
    forum_id: UUID
    meeting_id: UUID
    area: str
    who: str
    what: str
    by: date
    status: str
    reason: str | None
    made_at: datetime
    changed_at: datetime


class ShownCandidate(Shown):
    id: UUID
    area: str
    category: str
    title: str
    status: str
    priority: str | None
    root_cause: str | None
    reported_at: datetime


class ShownAlert(Shown):
    id: UUID
    version: int
    area: str
    category: str
    headline: dict[str, Any]
    text: dict[str, Any]
    severity: str
    urgency: str
    certainty: str
    about: UUID | None
    source_id: UUID | None
    source_type: str
    recipients: int
    raised_at: datetime
    corrects: UUID | None
    withdrawn_at: datetime | None


class ShownDelivery(Shown):
    id: UUID
    channel: str
    state: str
    attempts: int
    reason: str
    queued_at: datetime
    changed_at: datetime


class ShownProblem(Shown):
    region: str
    id: UUID
    area: str
    category: str
    status: str
    reported_at: datetime
    changed_at: datetime


class ShownEvent(Shown):
    position: int
    id: UUID
    stream_id: UUID
    version: int
    type: str
    schema_version: int
    area: str
    data: dict[str, Any]
    recorded_at: datetime


engine = create_async_engine(
    os.environ["BENCH_DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"), pool_size=4, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()
PAGE = 50
T = TypeVar("T", bound=Base)


def within(query: Select[tuple[T]], column: Mapped[str], area: str | None) -> Select[tuple[T]]:
    return query if area is None else query.where(or_(column == area, column.like(f"{area}.%")))


async def page(query: Select[tuple[T]]) -> list[T]:
    async with sessions() as session:
        return list((await session.scalars(query.limit(PAGE + 1))).all())[:PAGE]


@app.get("/v1/forums")
async def forums(area: str | None = None) -> list[ShownForum]:
    found = await page(within(select(Forum), Forum.area, area).order_by(Forum.position.desc()))
    return [ShownForum.model_validate(one) for one in found]


@app.get("/v1/meetings")
async def meetings(
    area: str | None = None, forum_id: UUID | None = None, status: str | None = None
) -> list[ShownMeeting]:
    query = within(select(Meeting), Meeting.area, area).order_by(Meeting.position.desc())
    if forum_id is not None:
        query = query.where(Meeting.forum_id == forum_id)
    if status is not None:
        query = query.where(Meeting.status == status)
    return [ShownMeeting.model_validate(one) for one in await page(query)]


@app.get("/v1/commitments")
async def commitments(
    area: str | None = None, forum_id: UUID | None = None, status: str | None = None
) -> list[ShownCommitment]:
    query = within(select(Commitment), Commitment.area, area).order_by(Commitment.position.desc())
    if forum_id is not None:
        query = query.where(Commitment.forum_id == forum_id)
    if status is not None:
        query = query.where(Commitment.status == status)
    return [ShownCommitment.model_validate(one) for one in await page(query)]


@app.get("/v1/forums/{forum_id}/agenda-candidates")
async def candidates(forum_id: UUID) -> list[ShownCandidate]:
    async with sessions() as session:
        forum = await session.get_one(Forum, forum_id)
    query = within(select(OpenProblem), OpenProblem.area, forum.area).order_by(OpenProblem.position.desc())
    query = query.where(OpenProblem.open, ~OpenProblem.away, OpenProblem.public, OpenProblem.status != "reported")
    return [ShownCandidate.model_validate(one) for one in await page(query)]


@app.get("/v1/alerts")
async def alerts(area: str | None = None, category: str | None = None) -> list[ShownAlert]:
    query = within(select(Alert), Alert.area, area).order_by(Alert.position.desc())
    if category is not None:
        query = query.where(Alert.category == category)
    return [ShownAlert.model_validate(one) for one in await page(query)]


@app.get("/v1/alerts/{alert_id}/deliveries")
async def deliveries(alert_id: UUID, state: str | None = None) -> dict[str, Any]:
    query = select(Delivery).where(Delivery.alert_id == alert_id).order_by(Delivery.number.desc())
    if state is not None:
        query = query.where(Delivery.state == state)
    found = await page(query)
    counting = select(Delivery.state, func.count()).where(Delivery.alert_id == alert_id).group_by(Delivery.state)
    async with sessions() as session:
        states = dict((await session.execute(counting)).tuples().all())
    return {"states": states, "items": [ShownDelivery.model_validate(one) for one in found]}


@app.get("/v1/problems")
async def problems(
    area: str | None = None, category: str | None = None, status: str | None = None, region: str | None = None
) -> list[ShownProblem]:
    order = tuple_(Problem.reported_at, Problem.region, Problem.id)
    query = within(select(Problem), Problem.area, area).order_by(*(one.desc() for one in order.clauses))
    if category is not None:
        query = query.where(Problem.category == category)
    if status is not None:
        query = query.where(func.coalesce(Problem.referral, Problem.status) == status)
    if region is not None:
        query = query.where(Problem.region == region)
    return [ShownProblem.model_validate(one) for one in await page(query)]


hub_meeting = table("meeting", *map(column, ("region", "area", "agreements", "scheduled_at", "held_at")))


@app.get("/v1/deliberations")
async def deliberations(by: str, area: str | None = None) -> list[dict[str, Any]]:
    meeting = hub_meeting.c
    key = meeting.region if by == "region" else func.to_char(func.timezone("UTC", meeting.scheduled_at), "YYYY-MM")
    query = select(
        key.label("key"), func.count().label("meetings"), func.count(meeting.held_at).label("held"),
        func.coalesce(func.sum(meeting.agreements), 0).label("agreements"),
    ).group_by("key").order_by("key")  # fmt: skip
    if area is not None:
        query = query.where(or_(meeting.area == area, meeting.area.like(f"{area}.%")))
    async with sessions() as session:
        return [dict(row) for row in (await session.execute(query)).mappings()]


@app.get("/v1/events")
async def events(after: int = 0, limit: int = 100) -> list[ShownEvent]:
    async with sessions() as session:
        query = select(Event).where(Event.position > after).order_by(Event.position).limit(limit)
        return [ShownEvent.model_validate(one) for one in (await session.scalars(query)).all()]
