"""A witness by HTTP: c2sp.org/tlog-witness. Its bodies are text, its statuses the protocol's."""

from __future__ import annotations

from typing import Any

from litestar import MediaType, Response, get, post
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from rembuk.proof.signed_note import MAX_NOTE
from rembuk.web.commands import Json
from rembuk.web.problem_details import response
from rembuk.witness.witness import NotCosigned, Witness

_RULES = {400: "malformed-input", 403: "not-signed", 404: "unknown-log", 409: "another-size", 422: "not-consistent"}


def witnessing(witness: Witness) -> list[Any]:
    """The route handlers under `/v1/witness`; not in the OpenAPI document, for C2SP says what they are."""

    @get("/v1/witness/key", include_in_schema=False, media_type=MediaType.TEXT, sync_to_thread=False)
    def read_key() -> str:
        return f"{witness.verifier}\n"

    @post("/v1/witness/add-checkpoint", status_code=200, include_in_schema=False, opt={"any_body": True})
    async def add_checkpoint(request: Json) -> Response[Any]:
        body = await request.body()
        if len(body) > MAX_NOTE:
            raise RequestEntityTooLarge
        try:
            return Response(await witness.add_checkpoint(body.decode()), media_type=MediaType.TEXT)
        except UnicodeDecodeError as error:
            return response(400, _RULES[400], str(error))
        except NotCosigned as refusal:
            if refusal.size is not None:
                return Response(f"{refusal.size}\n", status_code=409, media_type="text/x.tlog.size")
            return response(refusal.status, _RULES[refusal.status], str(refusal))

    return [read_key, add_checkpoint]
