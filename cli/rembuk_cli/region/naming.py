"""What may stand where a command asks for an id: the id, or for a report what its reporter wrote down."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rembuk.events.reference import position_of
from rembuk.log.standing import begun_at

from rembuk_cli.region.services import ask_each
from rembuk_cli.terminal.options import cannot_run
from rembuk_cli.terminal.writing import escape

if TYPE_CHECKING:
    from rembuk.embedded.region import RegionConfig


def id_named(region: RegionConfig, text: str) -> UUID:
    """The id; ends the command for what is neither. Raises Unable."""
    try:
        return UUID(text)
    except ValueError:
        return _reported_as(region, text) or cannot_run(
            f"{escape(text)} is neither an id nor the reference of a report of {region.name} "
            f"({region.name.upper()}-000123)"
        )


def aggregate_named(region: RegionConfig, text: str) -> str:
    """An aggregate as quarantine names it, which may be told by its reference. Raises Unable."""
    return str(_reported_as(region, text) or text)


def _reported_as(region: RegionConfig, text: str) -> UUID | None:
    if not (position := position_of(text, region.name)):
        return None
    [(_, problem)] = ask_each(region, lambda connection: begun_at(connection, position), services=("reports",))
    return problem
