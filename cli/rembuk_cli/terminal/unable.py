"""What a command could not do, as an exception."""

from __future__ import annotations


class Unable(Exception):
    """What a command could not do, in a line, and the commands that help; it ends with exit code 2 then."""

    def __init__(self, why: str, *then: str) -> None:
        super().__init__(why)
        self.then = then
