"""A database asked by a test, past all services."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg


def asked(url: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
    """The answer, over a connection of its own; none where several statements are told, a semicolon between them."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            if ";" in query:
                await connection.execute(query)
                return []
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    return asyncio.run(ask())
