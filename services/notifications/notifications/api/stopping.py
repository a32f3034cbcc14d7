"""How a subscription ends: by its owner's program, by the link in an e-mail, or by a mail program's button."""

from typing import Any
from uuid import UUID

from litestar import MediaType, delete, get, post
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle
from rembuk.sealing.vault import Vault
from rembuk.web.commands import Json
from rembuk.web.problem_details import documented
from rembuk.web.requests import Id, Intent

from notifications.commands import (
    StopSubscription,
)
from notifications.domain import SUBSCRIPTION
from notifications.queries import (
    NotificationQueries,
)

STOP_PAGE = """<!doctype html><html lang="id"><meta charset="utf-8"><title>Rembuk</title>
<form method="post"><p>Berhenti menerima pemberitahuan? / Stop these alerts?</p>
<button>Berhenti / Stop</button></form></html>"""
STOPPED_PAGE = """<!doctype html><html lang="id"><meta charset="utf-8"><title>Rembuk</title>
<p>Anda tidak akan menerima pemberitahuan lagi. / You will receive no more alerts.</p></html>"""


def routes(log: EventLog, vault: Vault, queries: NotificationQueries) -> list[Any]:
    async def stop(request: Json, id: UUID) -> None:
        command = StopSubscription(id)
        intent = Intent(request, command, id)
        await handle(log, SUBSCRIPTION, id, command, intent.key, intent.metadata)
        await vault.erase(id)  # as was recorded: nothing is left to send there, so nobody needs to know where it was

    @delete(
        "/v1/subscriptions/{id:uuid}",
        summary="Stop, and have the contact forgotten",
        responses=documented(404, 409, 422, 503),
    )
    async def stop_subscription(request: Json, id: Id) -> None:
        await stop(request, id)

    @get("/v1/subscriptions/{id:uuid}/stop", include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
    def ask_to_stop(id: Id) -> str:  # noqa: ARG001 - a page that looks the same for every id
        """The page an e-mail links to: mail scanners follow links, so stopping takes a press of its button."""
        return STOP_PAGE

    @post(
        "/v1/subscriptions/{id:uuid}/stop",
        status_code=200,
        include_in_schema=False,
        media_type=MediaType.HTML,
        opt={"any_body": True},
    )
    async def stop_by_mail(request: Json, id: Id) -> str:
        """One click in a mail program (RFC 8058) or on the page: ends whatever would send the same there."""
        for same in (*await queries.telling_the_same(id), id):
            await stop(request, same)
        return STOPPED_PAGE

    return [stop_subscription, ask_to_stop, stop_by_mail]
