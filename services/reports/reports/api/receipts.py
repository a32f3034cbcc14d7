"""The proof that a report is kept, as a file and as a code to be printed."""

from asyncio import to_thread
from typing import Any

from litestar import MediaType, Response, get
from rembuk.proof.receipt_code import svg
from rembuk.transparency.proofs import Proofs
from rembuk.web.log_proofs import CODE, receipt_file
from rembuk.web.problem_details import documented
from rembuk.web.requests import Id


def routes(region: str, proofs: Proofs) -> list[Any]:
    @get(
        "/v1/problems/{id:uuid}/receipt",
        summary="The proof that the report is kept",
        description="A C2SP tlog-proof, which `rembuk receipt verify` and docs/verify_receipt.py verify offline",
        media_type=MediaType.TEXT,
        responses=documented(400, 404, 409, 503),
    )
    async def read_receipt(id: Id) -> Response[str]:
        return receipt_file(region, *await proofs.receipt_of(id, "unknown-problem"))

    @get(
        "/v1/problems/{id:uuid}/receipt.svg",
        summary="The same as a QR code, to be printed",
        media_type=CODE,
        responses=documented(400, 404, 409, 503),
    )
    async def read_receipt_code(id: Id) -> Response[bytes]:
        _, receipt = await proofs.receipt_of(id, "unknown-problem")
        return Response(await to_thread(svg, receipt), media_type=CODE)

    return [read_receipt, read_receipt_code]
