"""The HTTP face of forums, by resource: a request becomes a command, an outcome becomes an answer."""

from typing import Any

from rembuk.log.event_log import EventLog
from rembuk.partners.partners import Partners
from rembuk.sealing.vault import Vault
from rembuk.web.partner_access import read_by_token

from forums.api import commitments, forums, meetings
from forums.queries import ForumQueries


def routes(log: EventLog, vault: Vault, queries: ForumQueries, partners: Partners | None) -> list[Any]:
    """Every route of the service but those that all services share."""
    return [
        *forums.routes(log, vault, read_by_token(partners, "reports")),
        *meetings.routes(log, vault, queries, read_by_token(partners, "forums")),
        *commitments.routes(log, vault),
    ]
