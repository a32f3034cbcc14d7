"""For how long a receiver asks to be left alone."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER_S = 86_400.0


def retry_after(header: str, now: datetime) -> float:
    """The seconds that a Retry-After (RFC 9110: seconds or a date) asks for, a day at most; 0 where it says nothing."""
    if header.isascii() and header.isdecimal():
        return min(float(header[:9]), LONGEST_RETRY_AFTER_S)
    try:
        asked = (parsedate_to_datetime(header) - now).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a zone
        return 0.0
    return min(max(asked, 0.0), LONGEST_RETRY_AFTER_S)
