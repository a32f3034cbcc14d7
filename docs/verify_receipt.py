"""Verify a receipt or a promise of Rembuk, offline:  python verify_receipt.py FILE [VERIFIER-KEY ...]

Written to be read: Python's own library, and `cryptography` for Ed25519. What it checks, in this order:
  1. the file is a proof (https://c2sp.org/tlog-proof) whose extra data are the event's leaf and a verifier key;
  2. the leaf, with the hashes of the proof, leads to the root of the Merkle tree that the note names (RFC 6962, 2.1.1);
  3. the note (https://c2sp.org/signed-note) is signed by a verifier key that you trust, or else, with a warning, by the
     one in the file; and by each trusted witness that it names (https://c2sp.org/tlog-cosignature);
  4. the leaf is of that log, at that position.
Exit code 0: proven, under a key that you gave; 1: not so; 2: wrongly called.
"""

import base64
import hashlib
import pathlib
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG, WITNESS = 1, 4  # kinds of verifier keys


def require(truth, otherwise):
    if not truth:
        raise ValueError(otherwise)


def unbase64(text):
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, "base64 is not written as it should be")
    return data


def verifier(key):
    """name+keyid+base64(kind, public key) -> (name, key id, kind, public key)"""
    name, key_id, encoded = key.split("+", 2)
    raw = unbase64(encoded)
    known = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    require(known.hex() == key_id and raw[0] in (LOG, WITNESS) and len(raw) == 33, f"{key} is no verifier key")
    return name, known, raw[0], raw[1:]


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(index, size, leaf, proof):
    """RFC 9162, 2.1.3.2"""
    require(0 <= index < size, "the tree has no such leaf")
    at, last, root = index, size - 1, hashlib.sha256(b"\x00" + leaf).digest()
    for sibling in proof:
        require(last, "the proof is too long")
        if at % 2 or at == last:
            root = node(sibling, root)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            root = node(root, sibling)
        at, last = at // 2, last // 2
    require(last == 0, "the proof is too short")
    return root


def signers(text, lines, keys):
    """Which of the keys have signed the text; one that has done so falsely is an error."""
    found = []
    for line in lines:
        name, encoded = re.fullmatch(r"\u2014 (\S+) (\S+)", line).groups()
        data = unbase64(encoded)
        for key in keys:
            if key[:2] == (name, data[:4]):
                signature, said = data[4:], text
                if key[2] == WITNESS:
                    seconds, signature = int.from_bytes(data[4:12], "big"), data[12:]
                    said = f"cosignature/v1\ntime {seconds}\n{text}"
                Ed25519PublicKey.from_public_bytes(key[3]).verify(signature, said.encode())
                found.append(key)
    return found


def verify(file, trusted):
    """The lines of the leaf, and by whom it is signed."""
    head, note = file.split("\n\n", 1)
    kind, extra, index, *proof = head.split("\n")
    require(kind in ("c2sp.org/tlog-proof@v1", "rembuk-promise@v1"), "it is no receipt and no promise")
    require(
        extra.startswith("extra ") and re.fullmatch(r"index (0|[1-9][0-9]*)", index), "its head is not as it should be"
    )
    leaf, named = unbase64(extra[6:]).split(b"\r\n\r\n")
    text, signatures = note.rsplit("\n\n", 1)
    text, signatures, index = text + "\n", signatures.split("\n")[:-1], int(index[6:])
    origin, *middle, size, root = text.split("\n")[:-1]  # a promise has a word between: no tree head is one
    require(middle == (["promise"] if kind.startswith("rembuk") else []), "the note is of another kind than the file")
    require(re.fullmatch(r"0|[1-9][0-9]*", size) and note.endswith("\n"), "the note is not as it should be")
    at = root_of(index, int(size), leaf + b"\r\n", [unbase64(one) for one in proof])
    require(at == unbase64(root), "the event is not in the tree that was signed")
    logs = [one for one in trusted if one[2] == LOG] or [verifier(key) for key in named.decode().split()]
    signed = signers(text, signatures, [one for one in logs if one[0] == origin])
    require(signed, f"no key that is known has signed it in the name of {origin}")
    signed += signers(text, signatures, [one for one in trusted if one[2] == WITNESS])
    event = dict(line.split(": ", 1) for line in leaf.decode().split("\r\n"))
    require(event["ce-source"] == "/" + origin, "the event is of another log")
    require(middle or int(event["ce-position"]) == index + 1, "the event is at another position")
    return event, signed


if __name__ == "__main__":
    _, file, *keys = sys.argv if len(sys.argv) > 1 else sys.exit(print(__doc__, file=sys.stderr) or 2)
    try:
        trusted = [verifier(key) for key in keys]
        event, signed = verify(pathlib.Path(file).read_bytes().decode(), trusted)
    except (OSError, ValueError, KeyError, AttributeError, InvalidSignature) as error:
        sys.exit(f"NOT PROVEN: {error or 'a signature is false'}")
    print(*(f"{name}: {value!r}" for name, value in event.items()), sep="\n")
    print(*(f"signed by {name}+{key_id.hex()}" for name, key_id, *_ in signed), sep="\n")
    checked = any(key[2] == LOG for key in trusted)
    print("PROVEN" if checked else "Proven if that key is the log's: it stands in the file and was not checked.")
    sys.exit(0 if checked else 1)
