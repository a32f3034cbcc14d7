"""How often a failing channel is tried, and how soon a contact is sent another code."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from rembuk.settings import number

from notifications.channels.email import COME_AGAIN_S

LONGEST_PAUSE_S = 3600.0
LONGEST_CODE_PAUSE_S = 86_400.0


class Patience(msgspec.Struct, frozen=True):
    """How often a failing channel is tried, and how long the first pause is; each further one is four times that.
    Likewise the pause after the first code to a contact. `come_again_s`: until a mail comes again that was refused for
    now."""

    attempts: int
    backoff_s: float
    code_pause_s: float = 60.0
    come_again_s: float = COME_AGAIN_S

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Patience:
        """Read REMBUK_DELIVERY_ATTEMPTS, REMBUK_DELIVERY_BACKOFF_S, REMBUK_CODE_PAUSE_S and
        REMBUK_DELIVERY_COME_AGAIN_S. Raises BadSetting."""
        return cls(
            number(environment, "REMBUK_DELIVERY_ATTEMPTS", 8, 1, 1000),
            number(environment, "REMBUK_DELIVERY_BACKOFF_S", 1.0, 0.0, LONGEST_PAUSE_S),
            number(environment, "REMBUK_CODE_PAUSE_S", 60.0, 0.0, LONGEST_CODE_PAUSE_S),
            number(environment, "REMBUK_DELIVERY_COME_AGAIN_S", COME_AGAIN_S, 0.0, LONGEST_CODE_PAUSE_S),
        )

    def pause(self, attempt: int) -> float:
        """Seconds until the attempt after the n-th: 1, 4, 16 ... up to an hour, so that eight span one and a half."""
        return min(self.backoff_s * 4.0 ** min(attempt - 1, 20), LONGEST_PAUSE_S)

    def code_pause(self, asked: int) -> float:
        """Seconds until who has asked n times for his code may ask again: 60, 240 ... up to a day."""
        return min(self.code_pause_s * 4.0 ** min(asked, 20), LONGEST_CODE_PAUSE_S)
