"""Every version of every event in one JSON Schema, in its envelope: what programs make their types from.

`python -m rembuk.contracts.bundle > docs/events.schema.json` writes it; every service has it at `/schemas/events.json`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rembuk.broker import streams
from rembuk.contracts.schemas import DIALECT, Released, formatted, released, released_versions
from rembuk.events.event import SCHEMA_SCHEME

PATH = "/schemas/events.json"

_TEXT = {"type": "string"}
_ENVELOPE: dict[str, Any] = {
    "title": "Envelope",
    "description": "The attributes that every event has: CloudEvents 1.0 in JSON",
    "type": "object",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid", "description": "Unique over all regions"},
        "source": _TEXT | {"description": "`/polmas/<region>/<service>`"},
        "subject": {"type": "string", "format": "uuid", "description": "What it happened to: a problem, a forum"},
        "time": {"type": "string", "format": "date-time", "description": "When it was recorded; never decreases"},
        "datacontenttype": {"const": streams.CONTENT_TYPE},
        "region": _TEXT,
        "position": {"type": "integer", "minimum": 1, "description": "In the service's log: 1, 2, 3 ..."},
        "version": {"type": "integer", "minimum": 1, "description": "Of the subject: 1, 2, 3 ..."},
        "area": _TEXT | {"description": 'Kemendagri code to the village, "" where none is concerned'},
        "correlationid": _TEXT | {"description": "The request that this belongs to"},
        "causationid": _TEXT | {"description": "The request or event that led to this one"},
        "actor": _TEXT | {"description": "Who asked: a role with an opaque id, never a name"},
        "traceparent": _TEXT | {"description": "W3C Trace Context"},
    },
    "required": [
        "specversion", "id", "source", "subject", "time", "datacontenttype", "region", "position", "version", "area",
    ],
}  # fmt: skip


def bundle() -> dict[str, Any]:
    """The schema: an event of any service, told apart by `dataschema`. Raises ValueError where two definitions have
    one name."""
    definitions: dict[str, Any] = {"Envelope": _ENVELOPE}
    versions = released_versions()
    for version in versions:
        payload = msgspec.json.decode(released(version.service, version.type, version.version) or b"")
        own = payload.pop("$defs", {}) | {version.title: payload}
        for name in ("$schema", "$id"):
            payload.pop(name)
        for name, definition in own.items():
            if definitions.setdefault(name, definition) != definition:
                raise ValueError(f"two definitions are called {name}")
        definitions[_name(version)] = _in_envelope(version)
    return {
        "$schema": DIALECT,
        "$id": SCHEMA_SCHEME + PATH,
        "title": "RembukEvent",
        "description": "Any event of any service of a region; `dataschema` says which",
        "oneOf": [{"$ref": f"#/$defs/{_name(version)}"} for version in versions],
        "$defs": definitions,
    }


def _name(version: Released) -> str:
    return f"{version.service.capitalize()}{version.title}Event"


def _in_envelope(version: Released) -> dict[str, Any]:
    return {
        "title": _name(version),
        "allOf": [
            {"$ref": "#/$defs/Envelope"},
            {
                "type": "object",
                "properties": {
                    "type": {"const": version.type},
                    "dataschema": {"const": version.uri},
                    "data": {"$ref": f"#/$defs/{version.title}"},
                },
                "required": ["type", "dataschema", "data"],
            },
        ],
    }


if __name__ == "__main__":
    print(formatted(bundle()).decode(), end="")
