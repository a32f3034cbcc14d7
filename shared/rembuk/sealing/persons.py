"""Persons erased and sealed data opened: each a fact in the service's log, beside the aggregates it is about."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Column, DateTime, MetaData, Table, Text, Uuid

from rembuk.contracts.privacy import ErasedBecause, Opened, PersonErased, PrivacyEvent, SealedDataOpened
from rembuk.events.decider import Decider
from rembuk.events.event import Metadata, RecordedEvent
from rembuk.events.ids import derive_id
from rembuk.log.event_log import EventLog
from rembuk.log.handling import Outcome, handle
from rembuk.postgres.bulk import Change, change, insert_into
from rembuk.sealing.vault import Vault, stream_of


class ErasePerson(NamedTuple):
    """Nobody shall be able to open any more what is sealed of a person."""

    area: str
    person: UUID
    ground: ErasedBecause


class OpenSealed(NamedTuple):
    """Somebody (a role and an opaque id) wants to be shown sealed fields of an aggregate's events, for a reason."""

    area: str
    aggregate: UUID
    opened: tuple[Opened, ...]
    by: str
    reason: str


def erase_person(command: ErasePerson, erased: PersonErased | None) -> list[PersonErased]:
    """Once: whoever asks twice has what he wants."""
    return [] if erased else [PersonErased(*command)]


def open_sealed(command: OpenSealed, _: SealedDataOpened | None) -> list[SealedDataOpened]:
    return [SealedDataOpened(*command)]


def _area_of(last: PrivacyEvent | None) -> str:
    return last.area if last else ""


PERSON: Decider[ErasePerson, PersonErased | None, PersonErased] = Decider(
    None, erase_person, lambda _, event: event, _area_of, (PersonErased,)
)
OPENINGS: Decider[OpenSealed, SealedDataOpened | None, SealedDataOpened] = Decider(
    None, open_sealed, lambda _, event: event, _area_of, (SealedDataOpened,)
)
"""A journal an aggregate: who was shown what of it."""


def openings_of(aggregate: UUID) -> UUID:
    """The stream that tells who was shown what of an aggregate."""
    return derive_id("openings", aggregate)


async def erase(log: EventLog, vault: Vault, command: ErasePerson, key: str, metadata: Metadata) -> Outcome:
    """Record that a person is erased, then destroy the key; what a crash leaves undone does `rembuk.sealing.erasing`.

    Raises what `handle` does, and Unavailable (then ask again)."""
    outcome = await handle(log, PERSON, stream_of(command.person), command, key, metadata)
    await vault.erase(command.person)
    return outcome


def erased_table(metadata: MetaData) -> Table:
    """Who was erased, in a service's read model: by it a row shows that what it tells is gone."""
    return Table(
        "erased",
        metadata,
        Column("id", Uuid, primary_key=True),  # the opaque person
        Column("ground", Text, nullable=False),
        Column("erased_at", DateTime(timezone=True), nullable=False),
    )


_ADD = insert_into(erased_table(MetaData()), "id", "ground", "erased_at")


def project_privacy(fact: RecordedEvent[Any]) -> tuple[Change, ...]:
    """What these events change in the rows of any service."""
    if isinstance(fact.event, PersonErased):
        return (change(_ADD, id=fact.event.person, ground=fact.event.ground, erased_at=fact.recorded_at),)
    return ()
