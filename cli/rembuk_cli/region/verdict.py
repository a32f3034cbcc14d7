"""What a receipt or a promise proves, and what follows from it, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from rembuk.events.reference import reference_of
from rembuk.proof.receipt import Proven


class Judged(msgspec.Struct, omit_defaults=True):
    """A file, and what it proves. `NOT PROVEN` says why; what it says under the key that it names itself is told even
    so."""

    file: str
    verdict: Literal["PROVEN", "NOT PROVEN"]
    proven: Proven | None = None
    reference: str = ""
    data_checked: bool = False
    why: str = ""


def judged(file: str, proven: Proven, data_checked: bool) -> Judged:
    """Of a file whose signature is good: whether that key was given is what is left to judge."""
    event = proven.event
    report = reference_of(event.region, event.position) if event.type == "ProblemReported" else ""
    if proven.trusted:
        return Judged(file, "PROVEN", proven, report, data_checked)
    why = (
        f"it is signed by {proven.key}, a key that it names itself, as anybody could have written it there. Compare it "
        "with the key that the region publishes, and give that by --key"
    )
    return Judged(file, "NOT PROVEN", proven, report, data_checked, why)


def in_words(one: Judged) -> Iterator[str]:
    """The verdict in the first line, and what it rests on in the others."""
    found = one.proven
    if found is None:
        yield f"{one.file}: {one.why}"
        yield (
            "it follows: nothing. Either the file was altered or cut short, or it is no receipt, or a key that you did "
            "not give has signed it. Have the receipt again from the region, and its key from where it is published"
        )
        return
    event = found.event
    what = f"the report {one.reference}" if one.reference else f"the event {event.id}"
    kept = f"the region has promised to keep {what}" if found.promise else f"{what} is kept"
    yield f"{one.file}: {one.why}. Under that key it says: {kept}" if one.why else f"{one.file}: {kept}"
    yield f"what: {event.type} {event.id}, version {event.version} of {event.aggregate}, area {event.area or 'none'}"
    yield f"when: recorded {event.time}"
    yield f"where: position {event.position:,} of the log {found.origin}" + (
        "" if found.promise else f", in the tree of {found.size:,} events with the root {found.root}"
    )
    yield f"by whom: signed by {found.key}" + (", a key that you gave" if found.trusted else "")
    for witness in found.cosigned:
        if witness.at is not None:
            yield f"cosigned {witness.at.isoformat()} by {witness.witness}: the log had only grown until then"
        else:
            yield f"cosigned by {witness.witness}, whose key you did not give: not checked"
    yield (
        "what it says: the same as the data that you gave"
        if one.data_checked
        else "what it says: not compared; give its data by --data (the region answers them at /v1/problems/ID/history)"
    )
    if found.promise:
        yield (
            "it follows: should the region ever sign a tree without this event at this position, then this file proves "
            "that it broke its promise. That it was kept is proven by a receipt"
        )
    else:
        yield (
            "it follows: the region can neither deny this event nor change or remove it without contradicting what it "
            "has signed, and this file proves that"
        )
