"""What must hold before services are let loose: no log is behind its stream, what was sealed can be opened, and
tree heads are signed by whom they were signed by before."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import nats.errors
import nats.js.errors
from rembuk.broker import streams
from rembuk.broker.stream_names import stream_name
from rembuk.embedded.region import RegionConfig
from rembuk.events.codec import Undecodable
from rembuk.keys.key_setting import BadKey, create, read_keys
from rembuk.keys.region_key import RegionKeys, Tampered
from rembuk.log.standing import last_position
from rembuk.postgres.provisioning import SERVICES
from rembuk.proof.signed_note import Signer
from rembuk.sealing.wrapped_keys import destroy_others, one_of_each, persons_by_key
from rembuk.transparency.standing import verifier_keys
from rembuk.transparency.tree import origin

from rembuk_cli.home.key_files import keys_in
from rembuk_cli.region.servers import CONNECT_S, broker

T = TypeVar("T")

RUNBOOK = "see docs/runbook.md"


class Unsound(Exception):
    """Why services must not start, and what to do."""


async def require_logs_of_streams(region: RegionConfig, options: str) -> None:
    """What was published is in the log; else commands would be recorded at positions that are taken. `options`
    are the region's, of the commands that mend it. Raises Unsound, and Unable where there is no broker to ask."""
    behind = []
    async with broker(region.nats_url, "rembuk prepare") as client:
        for service in SERVICES:
            head, tail = await _ask(region, service, last_position), 0
            stream = stream_name(region.name, service)
            with suppress(nats.errors.Error, Undecodable):
                tail = (await client.jetstream().stream_info(stream)).state.last_seq
                if tail > head:  # by an event of ours, and not by noise
                    held = await client.jetstream().get_msg(stream, seq=tail)
                    message = streams.stored_message(stream, tail, dict(held.headers or {}), held.data or b"")
                    streams.row(region.name, service, message)
                    behind.append(f"the log of {service} ends at {head}, its stream at {tail}")
    if behind:
        raise Unsound(
            f"{'; '.join(behind)}: what was published is not there any more. Restore it before anything new is "
            f"recorded: rembuk up --servers-only --detach{options}, rembuk restore SERVICE --from stream{options}; "
            f"{RUNBOOK}"
        )


def require_key_of_vaults(region: RegionConfig, path: Path, accept_loss: bool, copies: Path) -> None:
    """The region's keys are there, and those that wrap the keys of persons; made where nothing is sealed yet. With
    `accept_loss` what they cannot open is destroyed, unless a file beside them or among the `copies` opens it. Raises
    Unsound."""
    persons = asyncio.run(_persons(region))
    try:
        ids = RegionKeys.load(str(path)).ids if path.exists() else []
    except BadKey as error:
        raise Unsound(str(error)) from error
    missing = sorted(persons.keys() - set(ids))
    there = asyncio.run(opened_by(region, missing, [path.parent, copies]))
    if missing and (there or not accept_loss):
        holds = f"holds the key {', '.join(ids)}" if ids else "is missing"
        sealed = f"data of {sum(persons[one] for one in missing):,} persons are sealed under the key"
        told = "; ".join(f"{one} ({persons[one]:,} persons): {_where(there.get(one))}" for one in missing)
        raise Unsound(
            f"{path} {holds}, and {sealed} {', '.join(missing)}. Tried was every file in {path.parent} and {copies}: "
            f"{told}. Nothing is destroyed. Write the missing key behind those that are in region.key (cat FILE >> "
            f"{path}; chmod 600 {path}), and start again: {RUNBOOK}, “The region's key is missing”"
        )
    if not ids:
        create(path)
        ids = RegionKeys.load(str(path)).ids
    for service in SERVICES if missing else ():
        asyncio.run(_ask(region, service, lambda connection: destroy_others(connection, ids)))


def require_key_of_logs(region: RegionConfig, path: Path, new: bool) -> None:
    """The log's keys are there, one that has signed before among them; made where nothing is signed yet, or where it is
    to be a `new` one. Raises Unsound."""
    known = {key for service in SERVICES for key in asyncio.run(_ask(region, service, verifier_keys))}
    lost = f"Put that key back from where you keep it, mode 600; if it is lost for good, {RUNBOOK}"
    if not path.exists():
        if known and not new:
            raise Unsound(f"{path} is missing, and tree heads are signed by {', '.join(sorted(known))}. {lost}")
        create(path)
    try:
        keys = read_keys(str(path), "the log's key")
    except BadKey as error:
        raise Unsound(str(error)) from error
    ours = {str(Signer(origin(region.name, service), key).verifier) for service in SERVICES for key in keys}
    if known and not new and not known & ours:
        raise Unsound(f"{path} holds none of the keys that have signed: {', '.join(sorted(known))}. {lost}")


def _where(files: list[Path] | None) -> str:
    return f"opened by {' and '.join(map(str, files))}" if files else "opened by none of them"


async def opened_by(region: RegionConfig, missing: list[str], places: list[Path]) -> dict[str, list[Path]]:
    """The files whose keys open what the missing ones sealed, each tried on a person's key."""
    if not missing:
        return {}
    opening: dict[str, list[Path]] = {}
    found = keys_in(places)
    for service in SERVICES:
        for sealed in await _ask(region, service, lambda connection: one_of_each(connection, missing)):
            for key, file in found.get(sealed.key_id, []):
                with suppress(Tampered):
                    key.unwrap(sealed.person, sealed.wrapped)
                    opening.setdefault(sealed.key_id, []).append(file)
    return {key_id: list(dict.fromkeys(files)) for key_id, files in opening.items()}


async def _persons(region: RegionConfig) -> Counter[str]:
    """How many persons' keys are wrapped by which key of a region."""
    persons = Counter[str]()
    for service in SERVICES:
        persons.update(await _ask(region, service, persons_by_key))
    return persons


async def _ask(region: RegionConfig, service: str, question: Callable[[asyncpg.Connection[Any]], Awaitable[T]]) -> T:
    connection = await asyncpg.connect(region.database(service).service_url, timeout=CONNECT_S)
    try:
        return await question(connection)
    finally:
        connection.terminate()
