"""How often a failing channel is tried, and how soon a contact is sent another code."""

from __future__ import annotations

import msgspec
from rembuk.settings import DeliverySettings

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
    def of(cls, delivery: DeliverySettings) -> Patience:
        return cls(delivery.attempts, delivery.backoff_s, delivery.code_pause_s, delivery.come_again_s)

    def pause(self, attempt: int) -> float:
        """Seconds until the attempt after the n-th: 1, 4, 16 ... up to an hour, so that eight span one and a half."""
        return min(self.backoff_s * 4.0 ** min(attempt - 1, 20), LONGEST_PAUSE_S)

    def code_pause(self, asked: int) -> float:
        """Seconds until who has asked n times for his code may ask again: 60, 240 ... up to a day."""
        return min(self.code_pause_s * 4.0 ** min(asked, 20), LONGEST_CODE_PAUSE_S)
