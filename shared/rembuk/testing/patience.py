"""What a check raises while what it looks for is not there yet, so that it is tried again."""

from __future__ import annotations

NOT_YET = (AssertionError, LookupError, TypeError, ValueError)
"""What it asserts; what it takes out of a row, a list or an answer that are still empty. At the end of the patience
such an error is told like any other."""
