"""A receipt as a QR code holds it: the file, compressed, in base45 behind a word that says what it is.

A code holds 2,953 bytes, and a receipt from a log of 2^40 events with three cosignatures is 3,400. Packed it is 3,650
of the 4,296 characters that fit (a million events and one cosignature: 2,400), and whoever scans it with a telephone
gets characters that survive being copied.
"""

from __future__ import annotations

import zlib

from rembuk.proof import base45
from rembuk.proof.signed_note import MAX_NOTE

WORD = "REMBUK1:"


def packed(receipt: str) -> str:
    """What the code says."""
    return WORD + base45.encode(zlib.compress(receipt.encode(), 9))


def unpacked(text: str) -> str:
    """The receipt that a code says, or the text itself, where it is the file. Raises ValueError."""
    if not text.startswith(WORD):
        return text
    inflate = zlib.decompressobj()
    try:
        receipt = inflate.decompress(base45.decode(text.removeprefix(WORD).strip("\r\n")), MAX_NOTE)
    except zlib.error:
        raise ValueError("what was scanned is not whole") from None
    if not inflate.eof:
        raise ValueError("what was scanned is not whole, or too long")
    return receipt.decode()


def svg(receipt: str) -> bytes:
    """The code as a picture of its own. Raises segno.DataOverflowError for more than a code holds."""
    import io

    import segno

    picture = io.BytesIO()
    code = segno.make_qr(packed(receipt), error="l", boost_error=False)
    code.save(picture, kind="svg", scale=3, svgversion=1.1)
    return picture.getvalue()
