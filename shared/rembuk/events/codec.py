"""Events to bytes and back, old versions lifted to the newest on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from rembuk.events.event import Event

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the JSON object of version n and returns that of version n + 1; pure."""

MAX_EVENT_BYTES = 512 * 1024
"""Well under the broker's 1 MiB message, headers included: what the log accepts, the relay can always publish."""


_VALUE = re.compile(r"(?<=^Invalid enum value) .*?(?= - at `|$)", re.DOTALL)
"""What msgspec says of the data themselves, which may be anything and is for no log."""


class Undecodable(Exception):
    """Recorded data that this release cannot read; names type and version. It is a poison event, never skipped."""


class Unreadable(Event, frozen=True):
    """What stands for an event that this release cannot decode where somebody has to go on without knowing what it
    says: its type, and its JSON as it was recorded."""

    type: str
    data: dict[str, Any]


def type_of(event: Event) -> str:
    """The name under which an event is recorded."""
    return event.type if isinstance(event, Unreadable) else type(event).__name__


class EventTooLarge(ValueError):
    """An event of more than `MAX_EVENT_BYTES`; refused before it reaches the log."""


class Codec:
    """Reads and writes the events of some contracts.

    `upcasters` maps (type, version) to the step from that version to the next; every step from 1 to the newest
    must be there, which is checked here and not on the day an old event is read.
    """

    def __init__(
        self, events: Iterable[type[Event]], upcasters: Mapping[tuple[str, int], Upcaster] | None = None
    ) -> None:
        self.types = {event.__name__: event for event in events}
        self._upcasters = dict(upcasters or {})
        self._encoder = msgspec.json.Encoder()
        self._decoders = {name: msgspec.json.Decoder(event) for name, event in self.types.items()}
        for name, event in self.types.items():
            for version in range(1, event.schema_version):
                if (name, version) not in self._upcasters:
                    raise ValueError(f"no upcaster for {name} version {version}")

    def encode(self, event: Event) -> bytes:
        """The event as UTF-8 JSON, at most `MAX_EVENT_BYTES`; raises EventTooLarge."""
        data = self._encoder.encode(event)
        if len(data) > MAX_EVENT_BYTES:
            raise EventTooLarge(f"{type(event).__name__} is {len(data)} bytes, more than {MAX_EVENT_BYTES}")
        return data

    def decode_leniently(self, name: str, version: int, data: bytes | str) -> Event:
        """As `decode`, with an `Unreadable` in place of what raises Undecodable."""
        try:
            return self.decode(name, version, data)
        except Undecodable:
            recorded = msgspec.json.decode(data)
            return Unreadable(name, recorded if isinstance(recorded, dict) else {})

    def decode(self, name: str, version: int, data: bytes | str) -> Event:
        """The event in its newest shape; raises Undecodable for a type or version from the future, or bad data."""
        event = self.types.get(name)
        if event is None:
            raise Undecodable(f"unknown event type {name}")
        try:
            if version == event.schema_version:
                return self._decoders[name].decode(data)
            if not 1 <= version < event.schema_version:
                raise Undecodable(f"{name} version {version} is unknown; the newest here is {event.schema_version}")
            lifted = msgspec.json.decode(data)
            for step in range(version, event.schema_version):
                lifted = self._upcasters[name, step](lifted)
            return msgspec.convert(lifted, event)
        except Undecodable:
            raise
        except Exception as error:  # whatever msgspec or an upcaster stumbled over, the data is at fault
            cause = None if isinstance(error, msgspec.ValidationError) else error  # which quotes the data
            raise Undecodable(f"{name} version {version}: {_VALUE.sub('', str(error))}") from cause
