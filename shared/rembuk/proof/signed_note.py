"""Signed notes (c2sp.org/signed-note) with Ed25519, and the tree heads that are such notes (c2sp.org/tlog-checkpoint).

C2SP calls a signed tree head a checkpoint; here, as with followers everywhere, that is another thing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from rembuk.proof.merkle import HASH

MAX_NOTE = 64 * 1024
"""Characters of a note that is looked at: some tree head's, a few hundred signatures included."""

_NAME = re.compile(r"[^\s+]+")
_SIGNATURE = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_VKEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_MOST = 2**63 - 1
"""Leaves of a log: what a database counts to, and a proof of 63 hashes reaches."""


class BadNote(ValueError):
    """It is no signed note, or not one that a trusted key has signed."""


class BadVerifierKey(ValueError):
    """It is no verifier key of an Ed25519 signer: `name+12345678+<base64>`."""


@dataclass(frozen=True)
class Signature:
    """A line under a note: who signed, by name and key id, and with what."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"\u2014 {self.name} {encoded(self.key_id + self.signature)}\n"


class Verifier:
    """What a signer is known by: its name and its public key."""

    kind: ClassVar[bytes] = b"\x01"

    def __init__(self, name: str, public_key: Ed25519PublicKey) -> None:
        self.name, self._public_key = name, public_key
        raw = public_key.public_bytes_raw()
        self.key_id = sha256(name.encode() + b"\n" + self.kind + raw).digest()[:4]
        self._text = f"{name}+{self.key_id.hex()}+{encoded(self.kind + raw)}"

    def __str__(self) -> str:
        """The verifier key, as others are given it: `name+12345678+<base64>`."""
        return self._text

    @classmethod
    def of(cls, verifier_key: str) -> Self:
        """Raises BadVerifierKey."""
        if match := _VKEY.fullmatch(verifier_key.strip()):
            name, key_id, text = match.groups()
            raw = decoded(text)
            if raw is not None and raw[:1] == cls.kind and len(raw) == 33:
                verifier = cls(name, Ed25519PublicKey.from_public_bytes(raw[1:]))
                if verifier.key_id.hex() == key_id:
                    return verifier
        raise BadVerifierKey(f"{verifier_key!r:.200} is no verifier key: name+12345678+<base64>")

    def made(self, signature: Signature) -> bool:
        """Whether it says that it is ours, true or not."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def require(self, text: str, signature: Signature) -> None:
        """Raises BadNote where the signature is not ours of the text."""
        try:
            self._public_key.verify(signature.signature, text.encode())
        except InvalidSignature:
            raise BadNote(f"the signature of {self.name} is not of this text") from None


class Signer:
    """Signs notes by a name, with an Ed25519 key of 32 secret bytes."""

    def __init__(self, name: str, key: bytes) -> None:
        """Raises ValueError for a name that a signature line cannot hold."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a signer")
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self.verifier = Verifier(name, self._key.public_key())

    def sign(self, text: str) -> str:
        """The note: the text, which ends in a newline, and our signature."""
        signature = Signature(self.verifier.name, self.verifier.key_id, self._key.sign(text.encode()))
        return f"{text}\n{signature}"


def parts(note: str) -> tuple[str, list[Signature]]:
    """Text and signatures of a note, none of them verified. Raises BadNote."""
    if len(note) > MAX_NOTE or any(char < " " and char != "\n" for char in note):
        raise BadNote("it is too long, or has control characters")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise BadNote("it has no signatures under it")
    return text + "\n", [signature_of(line) for line in lines.split("\n")[:-1]]


def signature_of(line: str) -> Signature:
    """Raises BadNote."""
    if match := _SIGNATURE.fullmatch(line):
        name, text = match.groups()
        raw = decoded(text)
        if raw is not None and len(raw) > 4:
            return Signature(name, raw[:4], raw[4:])
    raise BadNote("a line under it is no signature")


def verified(note: str, trusted: Iterable[Verifier]) -> str:
    """The text of a note that one of the trusted keys has signed, and for none of them falsely. Raises BadNote."""
    text, signatures = parts(note)
    known = [(one, signature) for signature in signatures for one in trusted if one.made(signature)]
    for verifier, signature in known:
        verifier.require(text, signature)
    if not known:
        names = ", ".join(f"{one.name}+{one.key_id.hex()}" for one in signatures)
        raise BadNote(f"no key that is trusted here has signed it, but {names}")
    return text


@dataclass(frozen=True)
class TreeHead:
    """The tree of the log `origin` at some size."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """As it is signed."""
        return f"{self.origin}\n{self.size}\n{encoded(self.root)}\n"

    @classmethod
    def of(cls, text: str) -> TreeHead:
        """What a note's text says; extension lines are passed over. Raises BadNote."""
        lines = text.split("\n")
        if len(lines) > 3 and all(lines[:-1]):
            root = decoded(lines[2])
            if root is not None and len(root) == HASH:
                return cls(lines[0], number(lines[1]), root)
        raise BadNote("it is no tree head: origin, size and root, a line each")


def number(text: str) -> int:
    """Of leaves, in the one way to write it. Raises BadNote."""
    if _DECIMAL.fullmatch(text) and int(text) <= _MOST:
        return int(text)
    raise BadNote(f"{text!r:.100} is no number of leaves")


def encoded(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def decoded(text: str) -> bytes | None:
    """None for what is not base64, or not as `encoded` writes it."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:  # for what is not even ASCII it is not binascii.Error
        return None
    return data if encoded(data) == text else None
