"""Sealed data by HTTP: shown to who says why, which is recorded before; and erased, for good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast, get_args
from uuid import UUID

import msgspec
import structlog
from litestar import Response, post
from litestar.params import JSONBody
from msgspec import Meta

from rembuk.contracts.privacy import ErasedBecause, Opened
from rembuk.contracts.reports import confided_to
from rembuk.events.codec import type_of
from rembuk.events.decider import Refused
from rembuk.events.event import Event, RecordedEvent
from rembuk.events.wording import Text, pattern
from rembuk.keys.region_key import Fault, Unopened
from rembuk.log.event_log import EventLog
from rembuk.log.handling import KeyReused, handle
from rembuk.sealing.persons import OPENINGS, ErasePerson, OpenSealed, erase, openings_of
from rembuk.sealing.sealing import SealedField, opened_each, sealable, sealed_in
from rembuk.sealing.vault import Erased, Vault
from rembuk.web.commands import Json
from rembuk.web.problem_details import documented
from rembuk.web.requests import Id, Intent

ROLE_AND_ID = pattern(
    r"^[a-z_]{2,20}:[A-Za-z0-9._-]{1,64}(?!\n)$", "not a role and an opaque id such as officer:4711, never a name"
)
FieldName = Annotated[str, Meta(max_length=40)]
ERRORS = documented(400, 404, 409, 413, 415, 422, 503)

_log = structlog.get_logger(__name__)

Reader = Callable[[str], Any]
"""What is shown of an opened text."""


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which sealed fields somebody wants to be shown, and why. The reason is kept in the log for every auditor, and is
    to name nobody. `by` is a role and an opaque id, which nobody vouches for yet."""

    fields: Annotated[tuple[FieldName, ...], Meta(min_length=1, max_length=20)]
    reason: Text
    by: Annotated[str, Meta(pattern=ROLE_AND_ID, examples=["officer:4711"])]


class Erasing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose keys are to be destroyed: of those sealed in these fields, without any in all. It takes everything else
    that is sealed under the same keys along, and nothing brings it back."""

    ground: Literal["request", "other"] = "request"
    fields: Annotated[tuple[FieldName, ...], Meta(max_length=20)] = ()


class Shown(msgspec.Struct, frozen=True):
    """One field of one event; its value is null where it was `erased`, as the log says on the `ground` that it names
    (`lost`: the key was lost, and nobody wanted that), and where it cannot be opened though nobody erased it: `fault`
    says why."""

    event_id: UUID
    type: str
    field: str
    value: Any
    erased: bool
    fault: Fault | None = None
    ground: ErasedBecause | None = None


class ShownFields(msgspec.Struct, frozen=True):
    """What was opened, after that was recorded at this position."""

    position: int
    items: list[Shown]


class ErasedPersons(msgspec.Struct, frozen=True):
    """So many opaque persons are erased; the last of them was recorded at this position. `told` are the other regions
    that know of it in confidence: what they know is theirs to erase."""

    persons: int
    position: int
    told: list[str]


async def show(
    log: EventLog, vault: Vault, request: Json, history: Sequence[RecordedEvent[Any]], data: Opening,
    readers: Mapping[str, Reader],
) -> Response[ShownFields]:  # fmt: skip
    """Record who is shown what of some events of an aggregate, then open what is recorded; refused for what is not
    sealed in them. Whoever repeats a request is shown what was recorded at first: nothing that came since, and nothing
    where the record is of another wish (a restored log cannot tell by fingerprint)."""
    aggregate = history[0].stream_id
    intent = Intent(request, data, history[0].id)
    fields = _named(history, data.fields)
    names = tuple([Opened(field.fact.id, field.name) for field in fields])
    command = OpenSealed(history[0].area, aggregate, names, data.by, data.reason)
    outcome = await handle(log, OPENINGS, openings_of(aggregate), command, intent.key, intent.metadata)
    if outcome.repeated:
        journal = await log.read_stream(openings_of(aggregate))
        [recorded] = [one.event for one in journal if one.position == outcome.position]
        if (recorded.by, recorded.reason) != (data.by, data.reason):
            raise KeyReused("this idempotency key was used before with another content")
        fields = [field for field in fields if Opened(field.fact.id, field.name) in recorded.opened]
    items = [_shown(field, text, readers) for field, text in zip(fields, await opened_each(vault, fields), strict=True)]
    return Response(ShownFields(outcome.position, items), headers={"Cache-Control": "no-store"})


async def forget(
    log: EventLog, vault: Vault, request: Json, history: Sequence[RecordedEvent[Any]], data: Erasing
) -> ErasedPersons:
    """Erase whoever's data are sealed in some events of an aggregate."""
    intent = Intent(request, data, history[0].stream_id)
    position = 0
    persons = dict.fromkeys(field.person for field in _named(history, data.fields))
    for person in persons:
        command = ErasePerson(history[0].area, person, data.ground)
        key = f"{intent.key}:{person}"
        position = max(position, (await erase(log, vault, command, key, intent.metadata)).position)
    return ErasedPersons(len(persons), position, confided_to(fact.event for fact in history))


def opening(
    log: EventLog, vault: Vault, path: str, events: Iterable[type[Event]], readers: Mapping[str, Reader] | None = None
) -> Any:
    """The route handler of `POST <path>/open`; its `{id:uuid}` is that of an aggregate that consists of `events`."""
    thing, kinds = _thing(path), tuple(events)

    @post(f"{path}/open", status_code=200, operation_id=f"Open{thing}", summary="Be shown what is sealed",
          responses=ERRORS)  # fmt: skip
    async def open_fields(request: Json, id: Id, data: JSONBody[Opening]) -> Response[ShownFields]:
        return await show(log, vault, request, await _history(log, id, thing, kinds), data, readers or {})

    return open_fields


def erasing(log: EventLog, vault: Vault, path: str, events: Iterable[type[Event]]) -> Any:
    """The route handler of `POST <path>/erase`, as `opening`."""
    thing, kinds = _thing(path), tuple(events)

    @post(f"{path}/erase", status_code=200, operation_id=f"Erase{thing}", summary="Erase what is sealed",
          responses=ERRORS)  # fmt: skip
    async def erase_fields(request: Json, id: Id, data: JSONBody[Erasing]) -> ErasedPersons:
        return await forget(log, vault, request, await _history(log, id, thing, kinds), data)

    return erase_fields


def _thing(path: str) -> str:
    """/v1/problems/{id:uuid} is about a problem."""
    return path.split("/")[2].removesuffix("s")


async def _history(
    log: EventLog, stream_id: UUID, thing: str, kinds: tuple[type[Event], ...]
) -> list[RecordedEvent[Any]]:
    history = await log.read_stream(stream_id, leniently=True)
    if not history or type_of(history[0].event) not in {kind.__name__ for kind in kinds}:
        raise Refused(f"unknown-{thing}")
    return history


def _named(history: Sequence[RecordedEvent[Any]], names: Sequence[str]) -> list[SealedField]:
    """What is sealed in these fields, without any in all; raises Refused for a name that none of the events has."""
    known = {name for fact in history for name in sealable(fact.event)}
    for name in names:
        if name not in known:
            raise Refused("not-sealed", f"sealed are {', '.join(sorted(known)) or 'no fields'}", field="fields")
    return [field for field in sealed_in(history) if not names or field.name in names]


def _shown(field: SealedField, text: str | Erased | Unopened, readers: Mapping[str, Reader]) -> Shown:
    about = field.fact.id, type_of(field.fact.event), field.name
    if isinstance(text, Unopened):
        _log.error("what is sealed cannot be opened", position=field.fact.position, field=field.name, why=str(text))
        return Shown(*about, None, erased=False, fault=text.fault)
    if isinstance(text, Erased):  # on a ground of a later release, too
        known = text.ground in get_args(ErasedBecause)
        return Shown(*about, None, erased=True, ground=cast("ErasedBecause", text.ground) if known else None)
    return Shown(*about, readers.get(field.name, str)(text), erased=False)
