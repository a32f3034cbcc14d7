"""A JSON Schema for each version of each event, as released: what `dataschema` of an event points to.

`python -m rembuk.contracts.schemas` writes those of the newest versions from the contracts; older ones stay as they
were written. What has been released may only gain optional fields: anything else is a new version (see `breaks`).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from rembuk.contracts import forums, notifications, polmas, privacy, reports
from rembuk.contracts.document import SERVICES
from rembuk.events.event import Event, schema_path, schema_uri
from rembuk.events.texts import CODE, ENCLOSED, PUBLIC, SEALED

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TOLD = {
    SEALED: 'Sealed: `sealed:v1:...`, or "" for nothing',
    ENCLOSED: "Sealed for another region's key",
    PUBLIC: "In clear, for everybody",
    CODE: "A word of a fixed form",
}
_WORDS = {"description", "title", "examples", "$comment", "$id"}


class Released(msgspec.Struct, frozen=True):
    """One version of one event of one service."""

    service: str
    type: str
    version: int

    @property
    def path(self) -> str:
        """Where every service's API has the schema."""
        return schema_path(self.service, self.type, self.version)

    @property
    def uri(self) -> str:
        """The `dataschema` of such an event."""
        return schema_uri(self.service, self.type, self.version)

    @property
    def title(self) -> str:
        """What programs call the type: `ProblemReportedV2`."""
        return f"{self.type}V{self.version}"


def released_versions() -> list[Released]:
    """Every version of every event, in the order of the contracts."""
    return [
        Released(service, name, version)
        for service, module in SERVICES.items()
        for name, event in module.CODEC.types.items()
        for version in range(1, event.schema_version + 1)
    ]


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
        for word in _TOLD.keys() & {*getattr(hint, "__metadata__", ())}:
            if "enum" not in own["properties"][name]:
                own["properties"][name]["description"] = _TOLD[word]
    version = Released(service, event.__name__, event.schema_version)
    about = {"$schema": DIALECT, "$id": version.uri}
    return with_named_words(about | own | {"title": version.title} | ({"$defs": components} if components else {}))


def with_named_words(whole: dict[str, Any]) -> dict[str, Any]:
    """A schema in which each list of words stands once, in `$defs`, under the name that the contracts give it:
    programs made from several schemas then have one type for it. Raises KeyError for a list that has no name."""
    found: dict[str, Any] = {}

    def named(part: Any) -> Any:
        match part:
            case {"enum": words, **beside}:
                beside.pop("type", None)
                name = words_by_name()[frozenset(words)]
                found[name] = {"title": name, "enum": words}
                return {"$ref": f"#/$defs/{name}"} | beside
            case dict():
                return {key: named(value) for key, value in part.items()}
            case list():
                return [named(one) for one in part]
        return part

    kept = {key: named(value) for key, value in whole.items()}
    definitions = kept.pop("$defs", {}) | dict(sorted(found.items()))
    return kept | ({"$defs": definitions} if definitions else {})


@cache
def words_by_name() -> dict[frozenset[str], str]:
    """The name of each list of words that the contracts know."""
    modules: tuple[ModuleType, ...] = (polmas, privacy, reports, forums, notifications)
    return {
        frozenset(get_args(value)): name
        for module in modules
        for name, value in vars(module).items()
        if get_origin(value) is Literal
    }


def breaks(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Where a schema asks or promises something else than the one released before it. A field that may be left out
    can come to be; words, and where a part of the schema stands, can change."""
    return _differences(_inlined(before, before), _inlined(now, now), "")


def _inlined(part: Any, whole: dict[str, Any]) -> Any:
    """A part of a schema with all that it refers to in its place."""
    match part:
        case {"$ref": str(reference), **beside}:
            named = whole["$defs"][reference.removeprefix("#/$defs/")]
            return _inlined(named | beside, whole)
        case dict():
            return {key: _inlined(value, whole) for key, value in part.items() if key != "$defs"}
        case list():
            return [_inlined(one, whole) for one in part]
    return part


def _differences(before: Any, now: Any, at: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = at.endswith("/properties")  # what stands in there are names of ours
        may_come, may_change = (now.keys() - before.keys(), set()) if names else (set(), _WORDS)
        found = [f"{at}/{name}" for name in (before.keys() ^ now.keys()) - may_come - may_change]
        for name in before.keys() & now.keys() - may_change:
            found += _differences(before[name], now[name], f"{at}/{name}")
        return found
    return [] if before == now else [at or "/"]


def write(folder: Path) -> None:
    """The schemas of the newest versions, each in its file."""
    for service, module in SERVICES.items():
        for name, event in module.CODEC.types.items():
            file = folder / service / f"{name}.{event.schema_version}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(formatted(schema(service, event)))


def formatted(whole: dict[str, Any]) -> bytes:
    """A schema as a file has it."""
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


if __name__ == "__main__":
    write(Path(__file__).parent / "schemas")
