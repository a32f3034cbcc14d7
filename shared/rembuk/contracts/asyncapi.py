"""docs/asyncapi.yaml from the contracts: `python -m rembuk.contracts.asyncapi SAMPLES > docs/asyncapi.yaml`.

AsyncAPI 3 says what an application does: here a region's services, which send. The schemas of all released versions
are in it, so that a copy of this one file is whole wherever it lies.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import yaml

from rembuk.broker import nats_wire, streams
from rembuk.broker.stream_names import stream_name, subject_prefix
from rembuk.contracts.document import SERVICES, sentence
from rembuk.contracts.schemas import released
from rembuk.events.event import SCHEMA_SCHEME, Event, Metadata, schema_uri

_ABOUT = """What a region's services publish on NATS JetStream, for other systems to follow.

**Streams.** One for each region and service, `{REGION}_{SERVICE}` in capitals: `JATIM_REPORTS`. They are kept for good.

**Subjects** have seven tokens, for filters such as `polmas.jatim.reports.*.35.78.>`. A level that an event's area does
not name is `_`. Villages are in the header `ce-area` alone.

**Complete and in order.** `ce-position` counts 1, 2, 3 ... over a service's log without a hole and is the stream's
sequence: who had 41 and gets 43 has missed one. `ce-version` does the same within an aggregate, `ce-subject`. A partner
whose scope is narrower sees gaps; its consumer's count of deliveries has none.

**At least once.** Acknowledge what you have kept; what comes again has the same position, and the same `ce-id` and
`Nats-Msg-Id`.

**Sealed fields** hold `sealed:v1:...`, which the service's key alone opens, or "" for nothing. Once that key is
destroyed nobody can open them: take them for what is not known.

**Versions.** A message is in the version in which its event was recorded; `ce-dataschema` names it, and its path is
where every service's API has that schema. Within a version fields are only added, never required: ignore what you do
not know.

**CloudEvents 1.0** in binary mode, percent-encoding included. What was published by the first releases lacks
`ce-datacontenttype` and `ce-traceparent`, and has the mere path as `ce-dataschema`.
"""

_LEVEL = "code of the Kemendagri, or `_` where the event's area names none"
_PARAMETERS = {
    "region": {"description": "The regional command: 2 to 16 lower-case letters and digits", "examples": ["jatim"]},
    "province": {"description": f"Province, {_LEVEL}", "examples": ["35", "_"]},
    "regency": {"description": f"Regency or city within the province, {_LEVEL}", "examples": ["78", "_"]},
    "district": {"description": f"District within the regency, {_LEVEL}", "examples": ["08", "_"]},
}

_UUID = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
_COUNTED = {"type": "string", "pattern": "^[1-9][0-9]*$"}
_VISIBLE = {"type": "string", "pattern": "^[!#$&-~]+$"}
_TRACE = {"type": "string", "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"}
_HEADERS: dict[str, dict[str, Any]] = {
    "Nats-Msg-Id": _UUID | {"description": "The event's id again, by which JetStream knows what it has"},
    "ce-id": _UUID | {"description": "Unique over all regions; the same however often it is told"},
    "ce-specversion": {"const": "1.0"},
    "ce-type": {"type": "string"},
    "ce-source": {"type": "string", "format": "uri-reference", "pattern": "^/polmas/[a-z][a-z0-9]{1,15}/[a-z]+$"},
    "ce-subject": _UUID | {"description": "The aggregate: a problem, a forum, an alert"},
    "ce-time": {"type": "string", "format": "date-time", "description": "When it was recorded; never decreases"},
    "ce-dataschema": {"type": "string"},
    "ce-region": {"type": "string", "pattern": "^[a-z][a-z0-9]{1,15}$"},
    "ce-position": _COUNTED | {"description": "In the service's log, and the stream's sequence"},
    "ce-version": _COUNTED | {"description": "Of the aggregate, after this event"},
    "ce-area": {"type": "string", "description": 'Kemendagri code to the village, "" where none is concerned'},
    "ce-correlationid": _VISIBLE | {"description": "The journey that this belongs to"},
    "ce-causationid": _VISIBLE | {"description": "What led here, by its id"},
    "ce-actor": _VISIBLE | {"description": "Who asked: a role with an opaque id, never a name"},
    "traceparent": _TRACE | {"description": "W3C Trace Context"},
    "ce-datacontenttype": {"const": streams.CONTENT_TYPE},
    "ce-traceparent": _TRACE | {"description": "The same, as CloudEvents' distributed tracing extension"},
}
_NOT_ALWAYS = {
    "ce-correlationid", "ce-causationid", "ce-actor", "traceparent", "ce-datacontenttype", "ce-traceparent",
}  # fmt: skip


def document(samples: Path | None = None) -> dict[str, Any]:
    """The AsyncAPI document. `samples` are a folder with `<service>/<Event>.<version>.json` for the examples."""
    versions = [
        (service, event, version)
        for service, module in SERVICES.items()
        for event in module.CODEC.types.values()
        for version in range(1, event.schema_version + 1)
    ]
    events = {_name(service, event): (service, event) for service, event, _ in versions}
    headers = {
        "description": "CloudEvents attributes; beside them NATS keeps headers of its own, `Nats-...`",
        "type": "object",
        "properties": _HEADERS,
        "required": [name for name in _HEADERS if name not in _NOT_ALWAYS],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Rembuk: the events of a region",
            "version": "1.0.0",
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": [{"name": service, "description": sentence(module)} for service, module in SERVICES.items()],
        },
        "defaultContentType": streams.CONTENT_TYPE,
        "servers": {
            "region": {
                "host": "{host}",
                "protocol": "nats",
                "description": "A region's nats-server, 2.12 or newer, with JetStream",
                "variables": {"host": {"default": "127.0.0.1:4222", "description": "As `rembuk up` has it"}},
            }
        },
        "channels": {name: _channel(*of) for name, of in events.items()},
        "operations": {f"send.{name}": _operation(*of) for name, of in events.items()},
        "components": {
            "parameters": _PARAMETERS,
            "messages": {_name(*of): _message(*of, samples) for of in versions},
            "schemas": {"headers": headers} | {_name(*of): _payload(*of) for of in versions},
        },
    }


def _name(service: str, event: type[Event], version: int | None = None) -> str:
    return ".".join([service, event.__name__, *([] if version is None else [str(version)])])


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/{kind}/{name}"}


def _channel(service: str, event: type[Event]) -> dict[str, Any]:
    prefix = subject_prefix("{region}", service)
    return {
        "address": f"{prefix}.{event.__name__}.{{province}}.{{regency}}.{{district}}",
        "title": event.__name__,
        "description": f"{sentence(event)}\n\nIn the stream `{stream_name('{region}', service)}`.",
        "servers": [_ref("servers", "region")],
        "parameters": {name: _ref("components/parameters", name) for name in _PARAMETERS},
        "messages": {
            f"v{version}": _ref("components/messages", _name(service, event, version))
            for version in range(1, event.schema_version + 1)
        },
        "tags": [{"name": service}],
    }


def _operation(service: str, event: type[Event]) -> dict[str, Any]:
    """Only the newest version is sent; those before it stand in the stream."""
    channel = f"channels/{_name(service, event)}"
    return {
        "action": "send",
        "channel": {"$ref": f"#/{channel}"},
        "messages": [_ref(f"{channel}/messages", f"v{event.schema_version}")],
        "tags": [{"name": service}],
    }


def _message(service: str, event: type[Event], version: int, samples: Path | None) -> dict[str, Any]:
    name, uri = event.__name__, schema_uri(service, event.__name__, version)
    own = {"ce-type": {"const": name}, "ce-dataschema": {"enum": [uri, uri.removeprefix(SCHEMA_SCHEME)]}}
    message: dict[str, Any] = {
        "name": name,
        "title": f"{name}, version {version}",
        "contentType": streams.CONTENT_TYPE,
        "headers": {"allOf": [_ref("components/schemas", "headers"), {"type": "object", "properties": own}]},
        "payload": _ref("components/schemas", _name(service, event, version)),
        "correlationId": {"location": "$message.header#/ce-correlationid"},
    }
    if samples is not None:
        payload = msgspec.json.decode((samples / service / f"{name}.{version}.json").read_bytes())
        message["examples"] = [{"headers": _headers(service, name, version, payload), "payload": payload}]
    return message


def _headers(service: str, name: str, version: int, payload: dict[str, Any]) -> dict[str, str]:
    """As the relay would write them."""
    metadata = Metadata(
        "tour-1", actor="officer:7", traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )
    row = {
        "id": UUID("0192f0c4-7a3e-5c11-9d55-3c1f0a9b7e22"), "stream_id": UUID("0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21"),
        "type": name, "schema_version": version, "position": 42, "version": 1, "area": payload.get("area", ""),
        "recorded_at": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "metadata": msgspec.json.encode(metadata),
    }  # fmt: skip
    lines = streams.published_lines(streams.header_lines("jatim", service, row))
    return nats_wire.parse_header_lines(lines.encode())


def _payload(service: str, event: type[Event], version: int) -> dict[str, Any]:
    """The released schema as a part of the document: what it refers to within itself is found from the root."""
    place = f'"#/components/schemas/{_name(service, event, version)}/$defs/'
    schema = (released(service, event.__name__, version) or b"").replace(b'"#/$defs/', place.encode())
    return {name: value for name, value in msgspec.json.decode(schema).items() if name not in ("$schema", "$id")}


class _Yaml(yaml.SafeDumper):
    """Texts of several lines as they are; what begins with a digit in quotes: versions of YAML differ there."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else "'" if data[:1].isdigit() else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Yaml.add_representer(str, _Yaml.text)


def written(samples: Path) -> str:
    """The document as docs/asyncapi.yaml has it."""
    return yaml.dump(document(samples), Dumper=_Yaml, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    print(written(Path(sys.argv[1])), end="")
