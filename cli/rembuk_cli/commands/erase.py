"""`rembuk erase`: a person's data are made unreadable for good, in every copy of the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rembuk.contracts.privacy import Ground
from rembuk.operations.steps import ErasureRecorded

from rembuk_cli.region.naming import id_named
from rembuk_cli.region.services import answers, require_service
from rembuk_cli.terminal.options import Data, Json, RegionName, home_of, require_running
from rembuk_cli.terminal.writing import out, write_answer


def erase(
    service: Annotated[str, typer.Argument(help="reports, forums or notifications: whose log has it.")],
    id: Annotated[
        str,
        typer.Argument(
            help="A problem (or its reference), meeting, commitment, subscription, member or opaque person."
        ),
    ],
    why: Annotated[Ground, typer.Option("--why", help="The ground, kept in the log. Free text is not allowed.")],
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Erase everybody whose data are sealed there: of a problem the reporter, and what was written of it in confidence.

    Recorded in the log first, then the keys are destroyed. The log stays as it is and verifiable; a backup from before
    that is restored loses the keys again. Nothing brings them back. A running service may show what it opened less
    than 5 seconds ago. Erased twice is erased once.

    Example: rembuk erase reports 0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21 --why request
    """
    require_service(service)
    home = home_of(region, data)
    seen = home.running_region(require_running(home))
    wanted = id_named(seen, id)
    told: list[str] = []
    erased: Iterator[ErasureRecorded] = answers(ErasureRecorded, seen, service, "erase", str(wanted), why)
    for one in erased:
        if as_json:
            write_answer(one)
        else:
            out.print(f"{one.person} is erased, as position {one.position:,} of {service} says")
            told = one.told
    if told:
        out.print(f"{', '.join(told)} had it in confidence, and can still read that: have it erased there, too")
