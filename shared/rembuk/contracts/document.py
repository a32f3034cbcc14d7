"""docs/events.md from the contracts: `python -m rembuk.contracts.document > docs/events.md`."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from rembuk.contracts import forums, notifications, reports
from rembuk.contracts.reports import ProblemEvent, ReferralDeclined, ReferralEvent, SolutionAssessed
from rembuk.contracts.status import OPEN, between_after, status_after
from rembuk.events.codec import Codec
from rembuk.events.event import Event

SERVICES: dict[str, ModuleType] = {"reports": reports, "forums": forums, "notifications": notifications}


_ABOUT = """# Events

Generated from `shared/rembuk/contracts` by `make docs`, kept true by a test. On NATS an event's JSON is the message's
data, and the rest stands in CloudEvents headers (see [integrate-nats.md](integrate-nats.md)).

Every service lists the JSON Schemas of all versions at `/schemas`. [events.schema.json](events.schema.json), at
`/schemas/events.json` of every service, has all of them with their envelope in one file: make your program's types from
it, for example with `datamodel-codegen` (Python) or `json2ts` (TypeScript).

## Kinds of text

| type | what is in the field |
|---|---|
| `Code` | A word of a fixed form: an area, a category, a region, a role with an opaque id. You may compare it. |
| `Public` | Text in clear that everybody may read, for ever. It names nobody. |
| `Sealed` | `sealed:v1:...`, which only the service itself can open, or `""` for nothing. You never get the text. |
| `Enclosed` | Sealed for one other region's key. Nobody else can open it. |

A type in lower case is as in JSON; the other types (`Disclosure`, `Strategy` ...) are lists of words, which the schemas
name under `$defs`.

## How a problem stands after an event

"Open" means that something is still to be decided or done: a forum may put the problem on its agenda. An event that is
not in this table leaves the status as it was.

| event of `reports` | status after it | open |
|---|---|---|
%(statuses)s

A solution that was assessed as ineffective leaves the problem open: the next step is a new `SolutionProposed`.
`ProblemReopened` opens a problem that was solved, closed or rejected.

While a problem is between two regions, that is shown in place of its status. The origin is the region that offers the
problem, the receiver the region that it is offered to. Each has its own log with its own events.

| event | in the log of | shown after it |
|---|---|---|
%(referrals)s

`ReferralWithdrawn` takes effect at once in the origin. The receiver may have accepted before it heard of it: its answer
decides. `ReferralReturned` then confirms the withdrawal, and `ProblemHandedOver` says that the problem went to the
receiver all the same. In the receiver a withdrawn offer becomes `ReferralDeclined` with the code `withdrawn`.
"""

_IN_THE_ORIGIN = ("ProblemReferred", "ReferralWithdrawn", "ProblemHandedOver", "ReferralReturned")


def document() -> str:
    """Every event of every service: what it says, its schema version, its fields with their types; and what the events
    of a problem lead to."""
    parts = [_ABOUT % {"statuses": _statuses(), "referrals": _referrals()}]
    for service, module in SERVICES.items():
        codec: Codec = module.CODEC
        parts.append(f"\n## {service}\n\n{sentence(module)}\n")
        parts += [_event(name, event) for name, event in codec.types.items()]
    return "".join(parts)


def _statuses() -> str:
    rows = []
    for event, told in _variants(ProblemEvent.__args__, SolutionAssessed, "effective", (True, False)):
        if (status := status_after(event)) is not None:
            rows.append(f"| {told} | `{status}` | {'yes' if status in OPEN else 'no'} |")
    return "\n".join(rows)


def _referrals() -> str:
    rows = []
    for event, told in _variants(ReferralEvent.__args__, ReferralDeclined, "code", ("withdrawn", "other")):
        told = told.replace("`code` `other`", "any other `code`")
        side = "origin" if type(event).__name__ in _IN_THE_ORIGIN else "receiver"
        between = between_after(event)
        rows.append(f"| {told} | {side} | {'its status' if between is None else f'`{between}`'} |")
    return "\n".join(rows)


def _variants(
    kinds: tuple[Any, ...], varied: type[Event], field: str, values: tuple[Any, ...]
) -> list[tuple[Any, str]]:
    """An event of each kind, its fields null, and how it is named; of the `varied` kind one for each value."""
    found = []
    for kind in kinds:
        nothing = dict.fromkeys(kind.__struct_fields__)
        for value in values if kind is varied else (None,):
            told = f"`{kind.__name__}`"
            if value is not None:
                told += f" with `{field}` {str(value).lower() if isinstance(value, bool) else f'`{value}`'}"
            found.append((kind(**nothing | ({} if value is None else {field: value})), told))
    return found


def _event(name: str, event: type[Event]) -> str:
    rows = "".join(f"| `{field}` | `{_named(event.__annotations__[field])}` |\n" for field in event.__struct_fields__)
    return f"\n### {name}\n\nVersion {event.schema_version}. {sentence(event)}\n\n| field | type |\n|---|---|\n{rows}"


def _named(annotation: str) -> str:
    """A type as the schemas name it."""
    return annotation.replace(" | None", " or null").replace("Disclosed", "Disclosure")


def sentence(documented: object) -> str:
    return " ".join((inspect.getdoc(documented) or "").split())


if __name__ == "__main__":
    print(document(), end="")
