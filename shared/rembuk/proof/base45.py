"""Base45 (RFC 9285): bytes as characters that a QR code holds most tightly, two bytes in three."""

from __future__ import annotations

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}


def encode(data: bytes) -> str:
    text = ""
    for at in range(0, len(data), 2):
        pair = data[at : at + 2]
        number = int.from_bytes(pair)
        for _ in range(len(pair) + 1):
            number, digit = divmod(number, 45)
            text += _DIGITS[digit]
    return text


def decode(text: str) -> bytes:
    """Raises ValueError."""
    data = b""
    for at in range(0, len(text), 3):
        triple = text[at : at + 3]
        if len(triple) == 1 or not all(digit in _VALUES for digit in triple):
            raise ValueError("it is not base45")
        number = sum(_VALUES[digit] * 45**n for n, digit in enumerate(triple))
        try:
            data += number.to_bytes(len(triple) - 1)
        except OverflowError:
            raise ValueError("it is not base45") from None
    return data
