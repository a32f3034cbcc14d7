"""What is made of one stream, as a worker runs it and an operator has it retried."""

from __future__ import annotations

from typing import Any, Protocol

import asyncpg
from nats.aio.msg import Msg

from rembuk.flow.checkpoints import Checkpoint


class Handler(Protocol):
    """A Projector, a Reactor, or one of the hub's own."""

    checkpoint: Checkpoint

    async def process(self, messages: list[Msg]) -> None: ...

    async def retry(self, connection: asyncpg.Connection[Any], aggregate: str) -> int: ...
