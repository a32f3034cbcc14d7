"""A region's own nats-server, embedded: nobody enters it without a password or an nkey, and each partner has an account
of its own in it, which is there or gone as soon as the file of partners says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.server import HOST
from rembuk.partners.nats_accounts import REGION, USER, accounts
from rembuk.process.spawning import RunAs
from rembuk.process.state_file import read_password

if TYPE_CHECKING:
    from rembuk.partners.partners import Partner

RELOADS = 2
"""nats-server 2.15.1 connects the imports of an account that a reload brought with the next reload only."""


def linked_within(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with the way to a hub, if there is one, beginning in the region's account."""
    if not (leaf := settings.get("leafnodes")):
        return dict(settings)
    return {**settings, "leafnodes": {**leaf, "remotes": [{**one, "account": REGION} for one in leaf["remotes"]]}}


class RegionNats(EmbeddedNats):
    """An EmbeddedNats with accounts. `password` is the file of what the region's services say; `settings` are as
    EmbeddedNats takes them."""

    def __init__(
        self,
        data: Path,
        port: int,
        region: str,
        password: Path,
        partners: Path,
        settings: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        super().__init__(data, port, settings)
        self._region, self._password, self._partners = region, password, partners

    @property
    def url(self) -> str:
        """With the services' password. Raises Damaged."""
        return f"nats://{USER}:{self._said()}@{HOST}:{self.port}"

    def _reload(self) -> None:
        for _ in range(RELOADS):
            super()._reload()

    def _own_settings(self) -> Mapping[str, Any]:
        own = accounts(self._region, self._said(), self._known())
        return {**linked_within(super()._own_settings()), "accounts": own}

    def _said(self) -> str:
        """What the services say: an empty one would let in whoever says nothing. Raises Damaged."""
        return read_password(self._password, "move it away, and the next `rembuk up` makes another")

    def _known(self) -> list[Partner]:
        """Raises Damaged."""
        if not any(self._partners.parent.glob(f"*{self._partners.name}*")):
            return []
        from rembuk.partners.partners import Partners  # not for a supervisor without partners

        return Partners(self._partners).read()

    def _prepare(self, lock: int) -> tuple[list[str], dict[str, str], RunAs]:
        """Streams that were kept when there were no accounts are the region's."""
        nobodys, ours = (self.data / "jetstream" / name for name in ("$G", REGION))
        if nobodys.exists() and not ours.exists():
            os.rename(nobodys, ours)
        return super()._prepare(lock)
