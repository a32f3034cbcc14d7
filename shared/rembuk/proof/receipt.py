"""Whether a receipt or a promise is true, and what it says then: offline, from the file and verifier keys alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

import msgspec

from rembuk.proof.content_digest import content_digest
from rembuk.proof.cosignature import WitnessVerifier, cosigned_at, of_witnesses
from rembuk.proof.merkle import leaf_hash, root_of_inclusion
from rembuk.proof.promises import promised
from rembuk.proof.receipt_code import unpacked
from rembuk.proof.signed_note import Signature, TreeHead, Verifier, number, parts
from rembuk.proof.tlog_proof import PROMISE, LogProof, leaf_and_keys

_LINE_END = "\r\n"
_LINE = re.compile("([^:]+): (.*)")


class BadReceipt(ValueError):
    """It proves nothing: it is altered, cut short, signed by nobody who is trusted, or contradicts itself."""


@dataclass(frozen=True)
class WitnessCosignature:
    """A witness that has seen the log grow to this head; `at` is None where its key is not among those given."""

    witness: str
    at: datetime | None


@dataclass(frozen=True)
class ProvenEvent:
    """What a leaf says: all about an event but its data, of which it has the digest (RFC 9530)."""

    region: str
    service: str
    position: int
    id: str
    type: str
    aggregate: str
    version: int
    area: str
    time: str
    content_digest: str


@dataclass(frozen=True)
class Proven:
    """`promise`: what was promised; else what is in the tree of `origin` with `size` leaves and this root. `key` has
    signed it; unless `trusted`, it is the file itself that names the key, as whoever forged a file would."""

    promise: bool
    event: ProvenEvent
    leaf: str
    origin: str
    size: int
    root: str
    key: str
    trusted: bool
    cosigned: tuple[WitnessCosignature, ...]


def proven(text: str, trusted: Sequence[Verifier] = ()) -> Proven:
    """What a file, or the text of its QR code, proves. Where keys of logs are trusted, one of them must have signed it;
    cosignatures by trusted witnesses must be good, others are passed over. Raises BadReceipt."""
    try:
        proof = LogProof.of(unpacked(text))
        leaf, named = leaf_and_keys(proof.extra)
        said, signatures = parts(proof.note)
        promise = proof.kind == PROMISE
        origin, size, root = promised(said) if promise else _head(said)
        logs = [one for one in trusted if not isinstance(one, WitnessVerifier)]
        key = _signer(origin, said, signatures, logs or [Verifier.of(one) for one in named])
        if root_of_inclusion(proof.index, size, leaf_hash(leaf), proof.hashes) != root:
            raise BadReceipt("the event is not in the tree that was signed")
        event = _event(leaf, origin)
        if not promise and event.position != proof.index + 1:
            raise BadReceipt(f"the event says that it is at {event.position}, the proof at {proof.index + 1}")
        cosigned = tuple(_cosigned(said, signatures, key, of_witnesses(trusted)))
    except BadReceipt:
        raise
    except ValueError as error:  # of a proof, a note, a key, a code that is none
        raise BadReceipt(str(error)) from error
    return Proven(promise, event, leaf_hash(leaf).hex(), origin, size, root.hex(), str(key), bool(logs), cosigned)


def require_data(event: ProvenEvent, data: bytes) -> None:
    """Raises BadReceipt where these are not the event's data: their very bytes, or JSON that comes to them, be it laid
    out otherwise, or within CloudEvents as `/v1/events` and `/v1/problems/{id}/history` give them."""
    if not any(content_digest(one) == event.content_digest for one in _readings(event, data)):
        raise BadReceipt("the data are not those of the event: their digest is another one")


def _readings(event: ProvenEvent, data: bytes) -> Iterable[bytes]:
    yield data
    try:
        said = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return
    for one in said if isinstance(said, list) else [said]:
        if isinstance(one, dict):
            yield msgspec.json.encode(one.get("data") if one.get("id") == event.id and "specversion" in one else one)


def contradictions(all_proven: Sequence[Proven]) -> list[str]:
    """Where one log has signed two things that cannot both be true: who is at a position, or what its tree was."""
    found = []
    for one, other in combinations(all_proven, 2):
        if (one.origin, one.event.position) == (other.origin, other.event.position) and one.leaf != other.leaf:
            found.append(
                f"{one.origin} has signed two events at position {one.event.position}: {one.event.type} "
                f"{one.event.id} of {one.event.time}, and {other.event.type} {other.event.id} of {other.event.time}"
            )
        heads = not one.promise and not other.promise
        if heads and (one.origin, one.size) == (other.origin, other.size) and one.root != other.root:
            found.append(f"{one.origin} has signed two trees of size {one.size}: {one.root} and {other.root}")
    return found


def _head(text: str) -> tuple[str, int, bytes]:
    head = TreeHead.of(text)
    return head.origin, head.size, head.root


def _signer(origin: str, text: str, signatures: Iterable[Signature], known: Iterable[Verifier]) -> Verifier:
    """Whoever of `known` has signed in the log's name. Raises BadNote, BadReceipt."""
    known = [one for one in known if one.name == origin]
    signed = [(one, signature) for signature in signatures for one in known if one.made(signature)]
    for one, signature in signed:
        one.require(text, signature)
    if not signed:
        keys = ", ".join(map(str, known)) or "none of these keys is"
        raise BadReceipt(f"it is not signed by a known key of {origin}: {keys}")
    return signed[0][0]


def _event(leaf: bytes, origin: str) -> ProvenEvent:
    lines = leaf.decode().split(_LINE_END)[:-1]
    said = {found[1]: found[2] for line in lines if line.isprintable() and (found := _LINE.fullmatch(line))}
    if len(said) != len(lines) or said.get("ce-source") != f"/{origin}":
        raise BadReceipt(f"the event is none of {origin}")
    try:
        _, region, service = origin.split("/")
        return ProvenEvent(
            region, service, number(said["ce-position"]), said["ce-id"], said["ce-type"], said["ce-subject"],
            number(said["ce-version"]), said["ce-area"], said["ce-time"], said["content-digest"],
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise BadReceipt(f"what is proven is no event of Rembuk: {error}") from error


def _cosigned(
    text: str, signatures: Iterable[Signature], key: Verifier, witnesses: Sequence[WitnessVerifier]
) -> Iterable[WitnessCosignature]:
    """Each cosignature, checked where its witness is trusted. Raises BadNote for a false one."""
    for signature in signatures:
        by = next((one for one in witnesses if one.made(signature)), None)
        if by is not None:
            by.require(text, signature)
            yield WitnessCosignature(str(by), cosigned_at(signature))
        elif not key.made(signature):
            yield WitnessCosignature(f"{signature.name}+{signature.key_id.hex()}", None)
