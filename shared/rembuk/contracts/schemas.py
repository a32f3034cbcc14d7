"""A JSON Schema for each version of each event, as released: what `dataschema` of an event points to.

`python -m rembuk.contracts.schemas` writes those of the newest versions from the contracts; older ones stay as they
were written. What has been released may only gain optional fields: anything else is a new version (see `breaks`).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from rembuk.contracts.document import SERVICES
from rembuk.event import Event, schema_path
from rembuk.texts import CODE, ENCLOSED, PUBLIC, SEALED

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TOLD = {
    SEALED: 'Sealed: `sealed:v1:...`, or "" for nothing',
    ENCLOSED: "Sealed for another region's key",
    PUBLIC: "In clear, for everybody",
    CODE: "A word of a fixed form",
}
_WORDS = {"description", "title", "examples", "$comment"}


def released(service: str, event: str, version: int) -> bytes | None:
    """The schema as it was released; None where there is none."""
    module = SERVICES.get(service)
    if module is None or not 1 <= version <= getattr(module.CODEC.types.get(event), "schema_version", 0):
        return None
    return (files("rembuk.contracts") / "schemas" / service / f"{event}.{version}.json").read_bytes()


def schema(service: str, event: type[Event]) -> dict[str, Any]:
    """The schema of an event's newest version, self-contained; fields that may come to be are let through."""
    _, components = msgspec.json.schema_components([event], ref_template="#/$defs/{name}")
    own: dict[str, Any] = components.pop(event.__name__)
    own["description"] = " ".join(own["description"].split())
    for name, hint in get_type_hints(event, include_extras=True).items():
        for word in getattr(hint, "__metadata__", ()):
            own["properties"][name]["description"] = _TOLD[word]
    about = {"$schema": DIALECT, "$id": schema_path(service, event.__name__, event.schema_version)}
    return about | own | ({"$defs": components} if components else {})


def breaks(before: Any, now: Any, at: str = "") -> list[str]:
    """Where a schema asks or promises something else than the one released before it; a field that may be left out
    can come to be, and words can change."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = at.endswith(("/properties", "/$defs"))  # what stands in there are names of ours
        may_come, may_change = (now.keys() - before.keys(), set()) if names else (set(), _WORDS)
        found = [f"{at}/{name}" for name in (before.keys() ^ now.keys()) - may_come - may_change]
        for name in before.keys() & now.keys() - may_change:
            found += breaks(before[name], now[name], f"{at}/{name}")
        return found
    return [] if before == now else [at or "/"]


def write(folder: Path) -> None:
    """The schemas of the newest versions, each in its file."""
    for service, module in SERVICES.items():
        for name, event in module.CODEC.types.items():
            file = folder / service / f"{name}.{event.schema_version}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(msgspec.json.format(msgspec.json.encode(schema(service, event)), indent=2) + b"\n")


if __name__ == "__main__":
    write(Path(__file__).parent / "schemas")
