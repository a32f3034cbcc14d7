"""Cosignatures: what a witness says of a tree head that it has seen grow (c2sp.org/tlog-cosignature, Ed25519)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rembuk.proof.signed_note import BadNote, BadVerifierKey, Signature, Verifier

_TIME = 8
"""Bytes before the signature: when it was made, in seconds since 1970."""
_LAST_S = 253_402_300_799
"""The last second that a date can tell: the end of the year 9999."""


class WitnessVerifier(Verifier):
    """What a witness is known by. Its key id differs from that of a log with the same name and key."""

    kind = b"\x04"

    def require(self, text: str, signature: Signature) -> None:
        """Raises BadNote where the cosignature is not ours of the note's text."""
        said = _message(text, _seconds(signature))
        super().require(said, Signature(signature.name, signature.key_id, signature.signature[_TIME:]))


class Cosigner:
    """Vouches for tree heads by a name, with an Ed25519 key of 32 secret bytes that signs nothing else."""

    def __init__(self, name: str, key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self.verifier = WitnessVerifier(name, self._key.public_key())

    def cosign(self, text: str, at: datetime) -> Signature:
        """Our line under the note of a tree head, of which `text` is the text."""
        seconds = int(at.timestamp())
        signed = self._key.sign(_message(text, seconds).encode())
        return Signature(self.verifier.name, self.verifier.key_id, seconds.to_bytes(_TIME) + signed)


def cosigned_at(signature: Signature) -> datetime:
    """When a cosignature was made, as it says. Raises BadNote."""
    return datetime.fromtimestamp(_seconds(signature), UTC)


def verifiers(text: str) -> list[Verifier]:
    """Verifier keys of logs and witnesses, one a line; empty lines and those that begin with # are passed over.
    Raises BadVerifierKey."""
    lines = (line.strip() for line in text.splitlines())
    return [verifier_of(line) for line in lines if line and not line.startswith("#")]


def verifier_of(verifier_key: str) -> Verifier:
    """Of a log or of a witness. Raises BadVerifierKey."""
    try:
        return Verifier.of(verifier_key)
    except BadVerifierKey:
        return WitnessVerifier.of(verifier_key)


def of_witnesses(trusted: Iterable[Verifier]) -> list[WitnessVerifier]:
    """Those among them that are witnesses."""
    return [one for one in trusted if isinstance(one, WitnessVerifier)]


def _seconds(signature: Signature) -> int:
    seconds = int.from_bytes(signature.signature[:_TIME])
    if len(signature.signature) != _TIME + 64 or seconds > _LAST_S:
        raise BadNote(f"the cosignature of {signature.name} has no time before its signature")
    return seconds


def _message(text: str, seconds: int) -> str:
    return f"cosignature/v1\ntime {seconds}\n{text}"
