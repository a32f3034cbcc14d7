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
LONGEST = 64 * 1024  # characters of a file
LAST_SECOND = 253_402_300_799  # of the year 9999
NOTES = {  # the first line of a file, and what is signed there: origin, number of leaves, root; no one is the other
    "c2sp.org/tlog-proof@v1": r"(.+)\n(.+)\n(.+)\n(?:.+\n)*",
    "rembuk-promise@v1": r"(.+)\npromise\n(.+)\n(.+)\n",
}
EVENT = {
    "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-position", "ce-version", "ce-area", "content-digest"
}  # fmt: skip


def require(truth, otherwise):
    if not truth:
        raise ValueError(otherwise)


def matched(pattern, text, what):
    found = re.fullmatch(pattern, text)
    require(found, f"{what} is not as it should be")
    return found.groups()


def number(text):
    matched("0|[1-9][0-9]{0,18}", text, "a number")
    require(int(text) < 2**63, "no log is so long")
    return int(text)


def unbase64(text, sizes=range(LONGEST)):
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text and len(data) in sizes, "base64 is not as it should be")
    return data


def verifier(key, kinds=(LOG, WITNESS)):
    """name+keyid+base64(kind, public key) -> (name, key id, kind, public key)"""
    name, key_id, encoded = matched(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)", key.strip(), "a verifier key")
    raw = unbase64(encoded, [33])
    known = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    require(known.hex() == key_id and raw[0] in kinds, f"{key} is no verifier key")
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
        name, encoded = matched(r"\u2014 ([^\s+]+) (\S+)", line, "a signature")
        data = unbase64(encoded, range(5, LONGEST))
        for key in keys:
            if key[:2] == (name, data[:4]):
                signature, said = data[4:], text
                if key[2] == WITNESS:
                    seconds, signature = int.from_bytes(data[4:12], "big"), data[12:]
                    require(seconds <= LAST_SECOND, "a cosignature is of no time that a calendar has")
                    said = f"cosignature/v1\ntime {seconds}\n{text}"
                Ed25519PublicKey.from_public_bytes(key[3]).verify(signature, said.encode())
                found.append(key)
    return found


def verify(file, trusted):
    """The lines of the leaf, and by whom it is signed."""
    require(len(file) <= LONGEST and "\n\n" in file, "it is too long, or cut short")
    head, note = file.split("\n\n", 1)
    kind, extra, index, hashes = matched(r"(.+)\nextra (.+)\nindex (.+)((?:\n.+)*)", head, "the head of the file")
    require(kind in NOTES, "it is no receipt and no promise")
    leaf, named = matched(rb"((?:[^\r\n]+\r\n)+)\r\n((?:[!-~]+\n)*)", unbase64(extra), "what it is about")
    text, signatures = matched(r"([^\0-\x09\x0b-\x1f]+\n)\n((?:[^\0-\x1f]+\n)+)", note, "the note")
    origin, size, root = matched(NOTES[kind], text, "what is signed")
    index, signatures = number(index), signatures.split("\n")[:-1]
    at = root_of(index, number(size), leaf, [unbase64(one, [32]) for one in hashes.split("\n")[1:]])
    require(at == unbase64(root, [32]), "the event is not in the tree that was signed")
    logs = [one for one in trusted if one[2] == LOG] or [verifier(key, [LOG]) for key in named.decode().split()]
    signed = signers(text, signatures, [one for one in logs if one[0] == origin])
    require(signed, f"no key that is known has signed it in the name of {origin}")
    signed += signers(text, signatures, [one for one in trusted if one[2] == WITNESS])
    lines = leaf.decode().split("\r\n")[:-1]
    event = dict(matched("([^:]+): (.*)", line, "the event") for line in lines)
    require(len(event) == len(lines) and "".join(lines).isprintable(), "the event is not as it should be")
    require(event.keys() >= EVENT, "the event is not whole")
    require(event["ce-source"] == f"/{origin}" and origin.count("/") == 2, "the event is of another log")
    position, _ = number(event["ce-position"]), number(event["ce-version"])
    require(kind.startswith("rembuk") or position == index + 1, "the event is at another position")
    return event, signed


if __name__ == "__main__":
    _, file, *keys = sys.argv if len(sys.argv) > 1 else sys.exit(print(__doc__, file=sys.stderr) or 2)
    try:
        trusted = [verifier(key) for key in keys]
        event, signed = verify(pathlib.Path(file).read_bytes().decode(), trusted)
    except (OSError, ValueError, InvalidSignature) as error:
        sys.exit(f"NOT PROVEN: {error or 'a signature is false'}")
    print(*(f"{name}: {value!r}" for name, value in event.items()), sep="\n")
    print(*(f"signed by {name}+{key_id.hex()}" for name, key_id, *_ in signed), sep="\n")
    checked = any(key[2] == LOG for key in trusted)
    print("PROVEN" if checked else "Proven if that key is the log's: it stands in the file and was not checked.")
    sys.exit(0 if checked else 1)
