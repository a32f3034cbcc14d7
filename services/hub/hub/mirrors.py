"""The mirrors as an operator's errand reads them: to rebuild what is shown of them, and to hold them against the tree
heads that the hub has cosigned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import nats
from rembuk.broker import streams
from rembuk.broker.stream_names import stream_name
from rembuk.federation.hub_regions import INBOX, reader_seed
from rembuk.keys.key_setting import read_keys
from rembuk.log.sources import PULL, Ending, StreamSource, ahead
from rembuk.operations.steps import MirrorVerified, VerificationStep, Verifying, Wrong
from rembuk.postgres.database import connect
from rembuk.proof.merkle import Frontier, leaf_hash
from rembuk.settings import Settings
from rembuk.transparency.leaves import published_leaf
from rembuk.transparency.tree import origin
from rembuk.witness.standing import CosignedRoot, cosigned_roots

from hub.projection import CODECS
from hub.regions import roster_of


@asynccontextmanager
async def sources(settings: Settings) -> AsyncIterator[dict[str, Ending]]:
    """Each mirror by its name, read in the account of its region. Raises nats.errors.Error, OSError, BadKey."""
    key, *_ = read_keys(settings.hub.key, "the hub's key")
    async with AsyncExitStack() as stack:
        found: dict[str, Ending] = {}
        for region in _regions(settings):
            client = await nats.connect(
                settings.nats_url, connect_timeout=5, max_reconnect_attempts=3, inbox_prefix=INBOX,
                nkeys_seed_str=reader_seed(key, region),
            )  # fmt: skip
            stack.push_async_callback(client.close)
            names = [stream_name(region, service) for service in CODECS]
            found |= {name: StreamSource(client, name) for name in names}
        yield found


async def verify(settings: Settings) -> AsyncIterator[VerificationStep]:
    """Whether each mirror has every event, and those that the region had signed. Raises what `sources` does, and what
    `rembuk.postgres.database.UNREACHABLE` lists."""
    connection = await connect(settings.database_url, "verify")
    try:
        heads = await cosigned_roots(connection)
    finally:
        connection.terminate()
    async with sources(settings) as mirrors:
        for region in _regions(settings):
            for service in CODECS:
                stream = stream_name(region, service)
                async for step in _against(mirrors[stream], stream, heads.get(origin(region, service))):
                    yield step


async def _against(mirror: Ending, stream: str, head: CosignedRoot | None) -> AsyncIterator[VerificationStep]:
    """A mirror against the head that was cosigned of its log."""
    end, tree = await mirror.end(), Frontier()
    root = None
    async with ahead(mirror, 0, end, PULL) as pages:
        async for messages in pages:
            for message in messages:
                if (position := streams.sequence(message)) != tree.size + 1:
                    yield Wrong("stream", f"{stream} goes on at {position} there: something is missing", tree.size + 1)
                    return
                tree.append(leaf_hash(published_leaf(message)))
                if head is not None and tree.size == head.size:
                    root = tree.root
            yield Verifying(tree.size, end)
    if head is not None and end < head.size:
        yield Wrong("stream", f"{stream} ends there, and a head of {head.size} events was cosigned", end + 1)
    elif head is not None and root != head.root:
        yield Wrong("stream", f"{stream} up to there is not what was signed and cosigned", head.size)
    yield MirrorVerified(stream, end, head.size if head is not None else None)


def _regions(settings: Settings) -> list[str]:
    """Every one that is admitted or was."""
    return list(dict.fromkeys(one.name for one in roster_of(settings).read()))
