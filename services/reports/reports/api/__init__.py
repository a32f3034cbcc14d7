"""The HTTP face of reports, by resource: a request becomes a command, an outcome becomes an answer."""

from typing import Any

from rembuk.log.event_log import EventLog
from rembuk.partners.partners import Partners
from rembuk.sealing.vault import Vault
from rembuk.transparency.proofs import Proofs
from rembuk.web.partner_access import read_by_token

from reports.api import choices, problems, receipts, referring, reporting
from reports.queries import ReferralQueries


def routes(
    log: EventLog, vault: Vault, proofs: Proofs, region: str, referrals: ReferralQueries, partners: Partners | None
) -> list[Any]:
    """Every route of the service but those that all services share."""
    return [
        *reporting.routes(log, vault, region),
        *problems.routes(region, referrals, read_by_token(partners, "reports")),
        *referring.routes(log, vault, region, referrals),
        *receipts.routes(region, proofs),
        *choices.routes(),
    ]
