"""docs/events.md from the contracts: `python -m rembuk.contracts.document > docs/events.md`."""

from __future__ import annotations

import inspect
from types import ModuleType

from rembuk.codec import Codec
from rembuk.contracts import forums, notifications, reports
from rembuk.event import Event

SERVICES: dict[str, ModuleType] = {"reports": reports, "forums": forums, "notifications": notifications}


def document() -> str:
    """Every event of every service: what it says, its schema version, its fields with their types."""
    parts = [
        "# Events\n\nGenerated from `shared/rembuk/contracts` by `make docs`, kept true by a test. On NATS an event's\n"
        "JSON is the message's data, and the rest stands in CloudEvents headers (see `shared/rembuk/streams.py`).\n"
    ]
    for service, module in SERVICES.items():
        codec: Codec = module.CODEC
        parts.append(f"\n## {service}\n\n{sentence(module)}\n")
        parts += [_event(name, event) for name, event in codec.types.items()]
    return "".join(parts)


def _event(name: str, event: type[Event]) -> str:
    rows = "".join(
        f"| `{field}` | `{event.__annotations__[field].replace(' | None', ' or null')}` |\n"
        for field in event.__struct_fields__
    )
    return f"\n### {name}\n\nVersion {event.schema_version}. {sentence(event)}\n\n| field | type |\n|---|---|\n{rows}"


def sentence(documented: object) -> str:
    return " ".join((inspect.getdoc(documented) or "").split())


if __name__ == "__main__":
    print(document(), end="")
