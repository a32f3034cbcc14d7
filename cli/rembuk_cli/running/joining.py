"""A region accepts the invitation of a hub, or declines it."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rembuk.federation.hub_regions import Invitation

from rembuk_cli.home.directory import Home
from rembuk_cli.terminal.options import cannot_run
from rembuk_cli.terminal.writing import escape, escape_lines


def join(home: Home, region: str, hub: str) -> None:
    """Accept an invitation, or another address for the one that was accepted; decline it by `none`; it stays so."""
    if (invitation := invited(home, region, hub)) is None:
        home.membership.decline()
        return
    home.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.membership.accept(invitation)


def invited(home: Home, region: str, hub: str) -> Invitation | None:
    """The invitation that is named so; None for `none`. Ends the command where it is none, or another region's."""
    if hub == "none":
        return None
    try:
        if hub.startswith("nats-leaf://"):
            if (invitation := home.membership.invitation()) is None:
                cannot_run(
                    f"there is no invitation to {escape(hub)}: name the file that `rembuk hub admit` has written"
                )
            invitation = msgspec.structs.replace(invitation, url=hub)
        else:
            invitation = msgspec.json.decode(Path(hub).read_bytes(), type=Invitation)
    except (OSError, msgspec.MsgspecError) as error:
        cannot_run(f"no invitation to a hub can be read from {escape(hub)}: {escape_lines(str(error))}")
    if invitation.region != region:
        cannot_run(f"the invitation is for {escape(invitation.region)}, this region is {region}")
    if invitation.fault:
        cannot_run(f"no invitation to a hub can be read from {escape(hub)}: {invitation.fault}")
    return invitation
