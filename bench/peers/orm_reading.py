"""The peer of our reading: an ordinary FastAPI + SQLAlchemy ORM service that lists and shows problems."""

from __future__ import annotations

import os
from datetime import datetime
from uuid import UUID

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Problem(Base):
    __tablename__ = "problem"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    version: Mapped[int]
    area: Mapped[str]
    province: Mapped[str]
    regency: Mapped[str]
    district: Mapped[str]
    category: Mapped[str]
    title: Mapped[str]
    description: Mapped[str]
    disclosure: Mapped[str]
    status: Mapped[str]
    priority: Mapped[str | None]
    root_cause: Mapped[str | None]
    proposal: Mapped[str | None]
    rejection: Mapped[str | None]
    referred_from: Mapped[str | None]
    referred_to: Mapped[str | None]
    reported_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    position: int
    version: int
    area: str
    category: str
    title: str
    description: str
    disclosure: str
    status: str
    priority: str | None
    root_cause: str | None
    proposal: str | None
    rejection: str | None
    referred_from: str | None
    referred_to: str | None
    reported_at: datetime
    changed_at: datetime


class Page(BaseModel):
    items: list[Shown]
    next_cursor: int | None


LEVELS = {2: Problem.province, 5: Problem.regency, 8: Problem.district, 13: Problem.area}
engine = create_async_engine(
    os.environ["BENCH_DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"), pool_size=4, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


@app.get("/v1/problems")
async def list_problems(
    area: str | None = None,
    category: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> Page:
    query = select(Problem)
    if area is not None:
        query = query.where(LEVELS[len(area)] == area)
    if category is not None:
        query = query.where(Problem.category == category)
    if status is not None:
        query = query.where(Problem.status == status)
    if since is not None:
        query = query.where(Problem.reported_at >= since)
    query = query.order_by(Problem.reported_at.desc(), Problem.position.desc()).limit(limit + 1)
    async with sessions() as session:
        found = (await session.scalars(query)).all()
    more = found[limit - 1].position if len(found) > limit else None
    return Page(items=[Shown.model_validate(one) for one in found[:limit]], next_cursor=more)


@app.get("/v1/problems/{problem_id}")
async def read_problem(problem_id: UUID) -> Shown:
    async with sessions() as session:
        problem = await session.get(Problem, problem_id)
    if problem is None:
        raise HTTPException(404)
    return Shown.model_validate(problem)
