"""What was released stays readable: frozen samples of every version of every event, and docs/events.md as generated."""

import json
from pathlib import Path

import msgspec
import pytest
from rembuk.contracts.document import SERVICES, document
from rembuk.events.codec import Codec

HERE = Path(__file__).parent
SAMPLES = sorted(HERE.glob("*/*.json"))
CODECS: dict[str, Codec] = {service: module.CODEC for service, module in SERVICES.items()}


def test_every_version_of_every_event_has_a_frozen_sample() -> None:
    expected = {
        f"{service}/{name}.{version}.json"
        for service, codec in CODECS.items()
        for name, event in codec.types.items()
        for version in range(1, event.schema_version + 1)
    }
    assert {str(sample.relative_to(HERE)) for sample in SAMPLES} == expected


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.parent.name}/{sample.stem}")
def test_a_released_event_is_read_in_its_newest_shape(sample: Path) -> None:
    name, version = sample.stem.split(".")
    codec = CODECS[sample.parent.name]
    event = codec.decode(name, int(version), sample.read_bytes())
    assert type(event).__name__ == name
    if int(version) == event.schema_version:
        written = json.loads(codec.encode(event))
        released = json.loads(sample.read_text())
        assert {field: written[field] for field in released if field in written} == {
            field: value for field, value in released.items() if field in written
        }
        missing = set(released) - set(written)
        defaults = {field.name: field.default for field in msgspec.structs.fields(type(event))}
        assert all(released[field] == defaults[field] for field in missing), f"{missing} would be lost"


def test_the_page_of_events_is_what_the_contracts_say() -> None:
    page = HERE.parents[1] / "docs" / "events.md"
    assert page.read_text() == document(), "run `make docs`"
