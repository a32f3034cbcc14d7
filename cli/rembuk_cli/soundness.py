"""What must hold before services are let loose: no log is behind its stream, and what was sealed can be opened."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

import asyncpg
import nats
import nats.errors
import nats.js.errors
from rembuk import streams
from rembuk.codec import Undecodable
from rembuk.key_setting import BadKey, create
from rembuk.provisioning import SERVICES
from rembuk.region import Region
from rembuk.region_key import RegionKeys

RUNBOOK = "see docs/runbook.md"
ANSWER_S = 3


class Unsound(Exception):
    """Why services must not start, and what to do."""


async def require_logs_of_streams(region: Region) -> None:
    """What was published is in the log; else commands would be recorded at positions that are taken. A broker that
    does not answer is not waited for. Raises Unsound."""
    try:
        client = await nats.connect(
            region.nats_url, connect_timeout=ANSWER_S, allow_reconnect=False, name="rembuk prepare"
        )
    except (OSError, nats.errors.Error):
        return
    behind = []
    try:
        for service in SERVICES:
            head, tail = await _head(region, service), 0
            stream = streams.stream_name(region.name, service)
            with suppress(nats.errors.Error, Undecodable):
                tail = (await client.jetstream().stream_info(stream)).state.last_seq
                if tail > head:  # by an event of ours, and not by noise
                    held = await client.jetstream().get_msg(stream, seq=tail)
                    message = streams.stored_message(stream, tail, dict(held.headers or {}), held.data or b"")
                    streams.row(region.name, service, message)
                    behind.append(f"the log of {service} ends at {head}, its stream at {tail}")
    finally:
        await client.close()
    if behind:
        raise Unsound(
            f"{'; '.join(behind)}: what was published is not there any more. Restore it before anything new is "
            f"recorded: rembuk up --servers-only --detach, rembuk restore SERVICE --from stream; {RUNBOOK}"
        )


def require_key_of_vaults(region: Region, path: Path, accept_loss: bool) -> None:
    """The region's keys are there, and those that wrap the keys of persons; made where nothing is sealed yet. With
    `accept_loss` what they cannot open is destroyed. Raises Unsound."""
    persons = asyncio.run(_persons(region))
    sealed = f"data of {sum(persons.values())} persons are sealed under the key {', '.join(sorted(persons))}"
    lost = f"Put that key back from where you keep it, mode 600; if it is lost for good, {RUNBOOK}"
    if not path.exists():
        if persons and not accept_loss:
            raise Unsound(f"{path} is missing, and {sealed}. {lost}")
        create(path)
    try:
        ids = RegionKeys.load(str(path)).ids
    except BadKey as error:
        raise Unsound(str(error)) from error
    if persons.keys() <= set(ids):
        return
    if not accept_loss:
        raise Unsound(f"{path} holds the key {', '.join(ids)}, but {sealed}. {lost}")
    for service in SERVICES:
        asyncio.run(_ask(region, service, "delete from vault_key where key_id <> all($1)", ids))


async def _head(region: Region, service: str) -> int:
    [row] = await _ask(region, service, "select position from log.head")
    return int(row["position"])


async def _persons(region: Region) -> Counter[str]:
    """How many persons' keys are wrapped by which key of a region."""
    persons = Counter[str]()
    for service in SERVICES:
        for row in await _ask(region, service, "select key_id, count(*) as persons from vault_key group by key_id"):
            persons[row["key_id"]] += row["persons"]
    return persons


async def _ask(region: Region, service: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(region.database(service).service_url, timeout=ANSWER_S)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        connection.terminate()
