"""The eraser: destroys the keys of everybody whom the log tells to be erased, whatever brought them back.

Whoever erases destroys the key at once; here that is made up for after a crash, and done again after a backup from
before was restored. It asks the log and keeps no checkpoint: nothing that a backup brings back can make it pass anybody
over.
"""

from __future__ import annotations

import asyncio

import structlog

from rembuk.postgres.database import UNREACHABLE, KeptConnection

PAUSE_S = 5.0

_DESTROY = """
    with erased as (select position, (data->>'person')::uuid as person from log.event
                    where type = 'PersonErased' and position > $1),
         destroyed as (delete from vault_key using erased where vault_key.person = erased.person returning 1)
    select coalesce(max(position), $1) as position, (select count(*) from destroyed) as keys from erased"""

_FORGET = """
    with erased as (select (data->>'person')::uuid as person from log.event
                    where type = 'PersonErased' and position > $1)
    delete from key_missing using erased where key_missing.person = erased.person"""
_RETURNED = "delete from key_missing using vault_key where key_missing.person = vault_key.person"
"""Asked once: a backup may have brought many back."""

_log = structlog.get_logger(__name__)


class Eraser:
    """One service's. `run` is a worker's task; several may run."""

    def __init__(self, database_url: str) -> None:
        self._connection = KeptConnection(database_url, "eraser")
        self._position = 0

    async def run(self) -> None:
        """All that was ever erased at first, then what comes, until cancelled."""
        try:
            while True:
                try:
                    await self.destroy()
                except UNREACHABLE as error:
                    _log.warning("eraser waits for its database", error=repr(error))
                    self._connection.drop()
                await asyncio.sleep(PAUSE_S)
        finally:
            self._connection.drop()

    async def destroy(self) -> int:
        """Go through the erasures not seen yet; how many keys there still were. Raises what `UNREACHABLE` lists."""
        connection = await self._connection.get()
        row = await connection.fetchrow(_DESTROY, self._position)
        assert row is not None
        if not self._position:
            await connection.execute(_RETURNED)
        if row["position"] > self._position:
            await connection.execute(_FORGET, self._position)
        self._position = row["position"]
        if row["keys"]:
            _log.info("keys destroyed", keys=row["keys"])
        return int(row["keys"])
