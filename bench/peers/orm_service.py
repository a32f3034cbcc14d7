"""Peer (a): an ordinary FastAPI + SQLAlchemy ORM service that inserts a report, one commit a request."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid4

from fastapi import FastAPI
from pydantic import BaseModel, Field
from sqlalchemy import DateTime
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Problem(Base):
    __tablename__ = "problem"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    area: Mapped[str]
    category: Mapped[str]
    title: Mapped[str]
    description: Mapped[str]
    disclosure: Mapped[str]
    lat: Mapped[float | None]
    lon: Mapped[float | None]
    reported_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Location(BaseModel):
    lat: float = Field(ge=-11.5, le=6.5)
    lon: float = Field(ge=94.5, le=141.5)


class Report(BaseModel):
    area: str = Field(pattern=r"^\d\d(\.\d\d(\.\d\d(\.\d{4})?)?)?$")
    category: str = Field(pattern="^[a-z_]{1,40}$")
    title: str = Field(min_length=3, max_length=200)
    description: str = Field(min_length=3, max_length=4000)
    disclosure: Literal["public", "forum", "officer", "commander"] = "public"
    location: Location | None = None


class Reported(BaseModel):
    id: UUID


engine = create_async_engine(
    os.environ["BENCH_DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"), pool_size=16
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/problems", status_code=201)
async def report_problem(report: Report) -> Reported:
    problem = Problem(
        id=uuid4(),
        reported_at=datetime.now(UTC),
        lat=report.location.lat if report.location else None,
        lon=report.location.lon if report.location else None,
        **report.model_dump(exclude={"location"}),
    )
    async with sessions() as session:
        session.add(problem)
        await session.commit()
    return Reported(id=problem.id)
