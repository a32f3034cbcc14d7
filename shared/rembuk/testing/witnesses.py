"""A witness that is served by HTTP, for tests of those who ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from litestar import Litestar

from rembuk.testing.ports import free_ports
from rembuk.testing.tallies import eventually
from rembuk.web.requests import StrictRequest
from rembuk.web.witnessing import witnessing
from rembuk.witness.witness import Witness


@asynccontextmanager
async def served(witness: Witness) -> AsyncIterator[str]:
    """Its submission prefix."""
    app, port = Litestar(witnessing(witness), request_class=StrictRequest), free_ports()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve())

    async def started() -> None:
        assert server.started

    await eventually(started)
    yield f"http://127.0.0.1:{port}/v1/witness"
    server.should_exit = True
    await serving
