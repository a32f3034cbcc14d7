"""The log's tree by HTTP: signed heads, verifier keys, and proofs, in the text formats of C2SP."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import MediaType, Request, Response, get
from litestar.exceptions import PermissionDeniedException
from litestar.params import Parameter
from litestar.types import Guard

from rembuk.events.reference import reference_of
from rembuk.partners.partners import Partner
from rembuk.proof.receipt import proven
from rembuk.proof.signed_note import encoded
from rembuk.transparency.proofs import Proofs
from rembuk.web.partner_access import REQUIRED
from rembuk.web.problem_details import documented

CODE = "image/svg+xml"

_Size = Annotated[int, Parameter(ge=1, le=2**62, description="Of a signed tree head", schema_extra={"minimum": 1})]
_MaybeSize = Annotated[
    int | None,
    Parameter(ge=1, le=2**62, description="The head of this size; else the last one", schema_extra={"minimum": 1}),
]
_Position = Annotated[int, Parameter(ge=1, le=2**62, schema_extra={"minimum": 1})]


def receipt_file(region: str, position: int, receipt: str) -> Response[str]:
    """A receipt as a file that bears the event's reference: JATIM-000123.tlog-proof."""
    disposition = f'attachment; filename="{reference_of(region, position)}.tlog-proof"'
    return Response(receipt, media_type=MediaType.TEXT, headers={"Content-Disposition": disposition})


def log_proofs(proofs: Proofs, region: str, guard: Guard) -> list[Any]:
    """The route handlers under `/v1/log`; `guard` lets those pass who may read the log."""

    @get("/v1/log/checkpoint", summary="A signed tree head", media_type=MediaType.TEXT, tags=["log"],
         description="c2sp.org/tlog-checkpoint, with the cosignatures of witnesses",
         responses=documented(400, 404, 503))  # fmt: skip
    async def read_checkpoint(size: _MaybeSize = None) -> str:
        return await proofs.checkpoint(size)

    @get("/v1/log/keys", summary="Who signs it, and ever did", media_type=MediaType.TEXT, tags=["log"],
         description="Verifier keys (c2sp.org/signed-note), one a line, the present one first",
         responses=documented(503))  # fmt: skip
    async def read_keys() -> str:
        return _lines(await proofs.keys())

    @get("/v1/log/consistency", summary="That one head goes on from another", media_type=MediaType.TEXT, tags=["log"],
         description="The hashes of a consistency proof (RFC 6962, 2.1.2) in base64, one a line",
         responses=documented(400, 404, 422, 503))  # fmt: skip
    async def read_consistency(old: _Size, new: _Size) -> str:
        return _lines([encoded(one) for one in await proofs.consistency(old, new)])

    @get("/v1/log/proof/{position:int}", summary="That an event is in the log", media_type=MediaType.TEXT, tags=["log"],
         description="c2sp.org/tlog-proof; its extra data are the event's leaf, which tells all about it but its data, "
         "and the verifier key", guards=[guard], security=REQUIRED,
         responses=documented(400, 401, 403, 404, 409, 503))  # fmt: skip
    async def read_proof(request: Request[Partner, Any, Any], position: _Position) -> Response[str]:
        receipt = await proofs.receipt(position)
        event = proven(receipt).event
        if not request.user.scope.sees(event.service, event.type, event.area):
            raise PermissionDeniedException(f"the event at {position} is not in the scope of {request.user.name}")
        return receipt_file(region, position, receipt)

    return [read_checkpoint, read_keys, read_consistency, read_proof]


def _lines(texts: list[str]) -> str:
    return "".join(f"{text}\n" for text in texts)
