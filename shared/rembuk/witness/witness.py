"""A witness of other logs (c2sp.org/tlog-witness): it vouches for a tree head once it has seen that it goes on from the
last one it vouched for, so that nobody can be shown another log than everybody else.

What it keeps is the last head of each log, in the service's database: one line that is locked while the next head is
weighed. Its key is derived from REMBUK_WITNESS_KEY and its name, which has the service in it: so the services of a
region are different witnesses, none of which answers for what another has seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rembuk.keys.key_setting import KEY, read_keys
from rembuk.postgres.database import ANSWER_S, UNREACHABLE, Pool, Unavailable, borrowed, open_pool
from rembuk.proof.cosignature import Cosigner
from rembuk.proof.merkle import EMPTY_ROOT, HASH, BadProof, require_consistent
from rembuk.proof.signed_note import BadNote, TreeHead, Verifier, decoded, parts
from rembuk.proof.tlog_proof import MAX_HASHES
from rembuk.settings import WITNESSED, Settings
from rembuk.transparency.tree import origin
from rembuk.witness.witness_settings import BadWitnessSetting, read_lines, verifier_in

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_BEGIN = "insert into witnessed (origin, size, root, note) values ($1, 0, $2, '') on conflict do nothing"
_LAST = "select size, root from witnessed where origin = $1 for update"
_KEEP = "update witnessed set size = $2, root = $3, note = $4, cosigned_at = now() where origin = $1"


class NotCosigned(Exception):
    """Why a head is not vouched for: an HTTP status as the protocol has it; for 409, what was cosigned last."""

    def __init__(self, status: int, why: str, size: int | None = None) -> None:
        super().__init__(why)
        self.status, self.size = status, size


class Witness:
    """Vouches for the logs whose verifier keys it is given, anew for each head."""

    def __init__(self, database_url: str, cosigner: Cosigner, logs: Callable[[], list[Verifier]]) -> None:
        self.verifier, self._cosigner, self._logs = cosigner.verifier, cosigner, logs
        self._url = database_url
        self._pool: Pool

    @classmethod
    def told(cls, settings: Settings) -> Witness | None:
        """The one that the settings ask for: REMBUK_WITNESSED_LOGS names a file of the verifier keys of logs, one a
        line, which may grow while it runs, REMBUK_WITNESS_KEY a key. Raises BadKey, BadWitnessSetting."""
        if not settings.witnessing.witnessed:
            return None

        def logs() -> list[Verifier]:
            return [verifier_in(WITNESSED, line) for line in read_lines(WITNESSED, settings.witnessing.witnessed)]

        logs()
        name = f"{origin(settings.region, settings.service)}/witness"
        [secret, *_] = read_keys(settings.witnessing.key, "the witness's key")
        key = HKDF(SHA256(), KEY, salt=None, info=name.encode()).derive(secret)
        return cls(settings.database_url, Cosigner(name, key), logs)

    async def start(self) -> None:
        self._pool = open_pool(self._url, "witness", 2)

    async def stop(self) -> None:
        await self._pool.close()

    async def add_checkpoint(self, request: str) -> str:
        """The line of our cosignature, for `old <size>`, the hashes of a consistency proof, an empty line and a signed
        tree head. Raises NotCosigned, Unavailable."""
        old, proof, note = _asked(request)
        text, head = self._trusted(note)
        if old > head.size:
            raise NotCosigned(400, "the old size is above the checkpoint's")
        try:
            async with borrowed(self._pool) as connection, connection.transaction():
                await connection.execute(_BEGIN, head.origin, EMPTY_ROOT, timeout=ANSWER_S)
                last = await connection.fetchrow(_LAST, head.origin, timeout=ANSWER_S)
                assert last is not None
                _require_next(last["size"], last["root"], old, head, proof)
                await connection.execute(_KEEP, head.origin, head.size, head.root, note, timeout=ANSWER_S)
        except UNREACHABLE as error:
            raise Unavailable(f"the witness cannot remember: {error}") from error
        return str(self._cosigner.cosign(text, datetime.now(UTC)))

    def _trusted(self, note: str) -> tuple[str, TreeHead]:
        """The text of a note, and the head that it is. Raises NotCosigned, Unavailable."""
        try:
            text, signatures = parts(note)
            head = TreeHead.of(text)
        except BadNote as error:
            raise NotCosigned(400, str(error)) from error
        try:
            keys = [one for one in self._logs() if one.name == head.origin]
        except BadWitnessSetting as error:
            raise Unavailable(f"the witness cannot read whom it is to watch: {error}") from error
        if not keys:
            raise NotCosigned(404, f"{head.origin} is not witnessed here")
        made = [(one, signature) for signature in signatures for one in keys if one.made(signature)]
        try:
            for one, signature in made:
                one.require(text, signature)
        except BadNote as error:
            raise NotCosigned(403, str(error)) from error
        if not made:
            raise NotCosigned(403, f"no key of {head.origin} that is known here has signed it")
        return text, head


def _asked(request: str) -> tuple[int, list[bytes], str]:
    """Old size, proof and note. Raises NotCosigned."""
    head, _, note = request.partition("\n\n")
    first, *lines = head.split("\n")
    old, proof = _OLD.fullmatch(first), [decoded(line) for line in lines]
    if not old or len(proof) > MAX_HASHES or any(one is None or len(one) != HASH for one in proof):
        raise NotCosigned(400, "it does not begin with the old size and a proof of at most 63 hashes")
    return int(old[1]), [one for one in proof if one is not None], note


def _require_next(size: int, root: bytes, old: int, head: TreeHead, proof: list[bytes]) -> None:
    """That the head goes on from the last one cosigned. Raises NotCosigned."""
    if old != size:
        raise NotCosigned(409, f"the last checkpoint cosigned is of size {size}", size)
    if old and old == head.size and root != head.root:
        raise NotCosigned(409, f"another tree of size {size} was cosigned", size)
    try:
        require_consistent(old, root, head.size, head.root, proof)
    except BadProof as error:
        raise NotCosigned(422, str(error)) from error
    if not head.size and head.root != EMPTY_ROOT:
        raise NotCosigned(422, "the empty tree has another root")
