"""The hub that a region has joined: the invitation, and whether the region's nats-server connects to that hub."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rembuk.embedded.nats_server import nats_text
from rembuk.federation.hub_regions import JOINED, Invitation, region_server
from rembuk.process import state_file
from rembuk.process.state_file import Damaged

_JOIN_ANEW = "join the hub anew by `rembuk down` and `rembuk up --hub FILE`, or leave it by `--hub none`"


class Membership:
    """The hub of the region in a data directory; `owner` returns the region's name, None before it is known."""

    def __init__(self, data: Path, owner: Callable[[], str | None]) -> None:
        self.file, self.authority = data / "hub.json", data / "hub-ca.pem"
        self._conf, self._owner = data / "nats" / "nats.conf", owner

    def invitation(self) -> Invitation | None:
        """By which the region joins its hub; None without a hub. Raises Damaged, also where there was one."""
        invitation = state_file.read_json(self.file, Invitation, _JOIN_ANEW)
        if invitation is None:
            if self._had_joined():
                raise Damaged(self.file, "missing, and the region had joined a hub", _JOIN_ANEW)
            return None
        if why := invitation.fault or self._not_ours(invitation):
            raise Damaged(self.file, why, _JOIN_ANEW)
        return invitation

    def accept(self, invitation: Invitation) -> None:
        """Join this hub from the next start on."""
        self._note_authority(invitation)
        state_file.write_json(self.file, invitation)

    def decline(self) -> None:
        """Have no hub from the next start on."""
        self.authority.unlink(missing_ok=True)  # first: it tells that there was an invitation
        self.file.unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """The variable that tells its services that there is a hub, whether or not its invitation can be read."""
        return {JOINED: "1"} if self.file.exists() or self._had_joined() else {}

    def settings(self, linked: bool) -> dict[str, Any]:
        """What the region's nats-server is told of its way to the hub, which it goes where it is to be `linked`; empty
        without one. Raises Damaged."""
        if (invitation := self.invitation()) is None:
            return {}
        self._note_authority(invitation)
        return region_server(invitation, self.authority, linked)

    def require_linked_as_invited(self) -> None:
        """Our nats-server goes to the hub that hub.json names, by that invitation. Raises Damaged."""
        invitation = self.invitation()
        linked = self._nats_is_linked(invitation, unless=bool(invitation))
        if linked != bool(invitation):
            raise Damaged(self.file, "not what this region's NATS was started with", _JOIN_ANEW)

    def _had_joined(self) -> bool:
        """Whether hub.json has vanished: hub-ca.pem alone may be left of a hub that the region is with no more."""
        return self.authority.exists() and self._nats_is_linked(unless=True)

    def _not_ours(self, invitation: Invitation) -> str:
        """Why a region that joined by it would be taken for another; empty where it would not."""
        if (owner := self._owner()) in (None, invitation.region):
            return ""
        return f"it invites {invitation.region}, and this is {owner}"

    def _note_authority(self, invitation: Invitation) -> None:
        """Have it in a file, from which nats-server reads it: one that is not as invited was damaged."""
        with suppress(OSError):
            if state_file.read(self.authority) == invitation.ca.encode():
                return
        state_file.write(self.authority, invitation.ca.encode())

    def _nats_is_linked(self, by: Invitation | None = None, *, unless: bool) -> bool:
        """Whether our nats-server was told to go to a hub, by this invitation if one is named; `unless` where none has
        run here."""
        try:
            told = state_file.read(self._conf).decode(errors="replace")
        except OSError:
            return unless
        wanted = [nats_text(one) for one in (by.url, by.seed)] if by else ['"remotes"']
        return all(one in told for one in wanted)
