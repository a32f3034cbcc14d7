"""The peer of our rebuild: the `eventsourcing` package's ProjectionRunner, in whose view each event becomes a row."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL

from bench.work import REPORT

PER_SAVE = 200
_CREATE = SQL("""create table if not exists problem (id uuid primary key, position bigint not null unique,
    version integer not null, area text not null, category text not null, title text not null,
    description text not null, status text not null, reported_at timestamptz not null)""")
_INSERT = """insert into problem values (%s, %s, 1, %s, %s, %s, %s, 'reported', %s)"""


class Problem(Aggregate):
    """A problem as it was reported."""

    def __init__(self, area: str, category: str, title: str, description: str) -> None:
        self.area, self.category, self.title, self.description = area, category, title, description


class Reports(Application[UUID]):
    """The store of problems."""


class Problems(PostgresTrackingRecorder):
    """The read model."""

    def __init__(self, datastore: PostgresDatastore, **more: Any) -> None:
        super().__init__(datastore, **more)
        self.sql_create_statements.append(_CREATE)

    def insert(self, row: tuple[Any, ...], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(_INSERT, row)
            self._insert_tracking(cursor, tracking)


class Problemwise(Projection[Problems]):
    """Each event a row."""

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        event = domain_event
        row = (event.originator_id, tracking.notification_id, event.area, event.category, event.title)
        self.view.insert((*row, event.description, event.timestamp), tracking)


def rebuilt(url: str, events: int, runs: int) -> list[float]:
    """The seconds each rebuild of so many events took; commits need not reach the disk, as in ours."""
    parts = urlsplit(url)
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path[1:],
        "POSTGRES_HOST": parts.hostname or "",
        "POSTGRES_PORT": str(parts.port),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": parts.password or "",
    }
    report = [REPORT[name] for name in ("area", "category", "title", "description")]
    app = Reports(env)
    for _ in range(events // PER_SAVE):
        app.save(*(Problem(*report) for _ in range(PER_SAVE)))
    taken = []
    for _ in range(runs):
        with app.factory.datastore.transaction(commit=True) as cursor:
            cursor.execute("drop table if exists problem, problemwise_tracking, notification_tracking")
            cursor.execute(f'alter database "{parts.path[1:]}" set synchronous_commit = off')
        started = time.perf_counter()
        with ProjectionRunner(
            application_class=Reports, projection_class=Problemwise, view_class=Problems, env=env
        ) as runner:
            runner.wait(app.recorder.max_notification_id(), timeout=600)
        taken.append(time.perf_counter() - started)
        with app.factory.datastore.transaction(commit=False) as cursor:
            cursor.execute("select count(*) as rows from problem")
            assert cursor.fetchone()["rows"] == events
    app.close()
    return taken
