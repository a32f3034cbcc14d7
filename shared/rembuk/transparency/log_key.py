"""Who signs a log's tree heads and promises: a name and an Ed25519 key that the region holds."""

from __future__ import annotations

from rembuk.keys.key_setting import read_keys
from rembuk.proof.signed_note import Signer
from rembuk.settings import Settings
from rembuk.transparency.tree import origin


def signers(settings: Settings) -> list[Signer]:
    """By the keys of REMBUK_LOG_KEY (see `rembuk.keys.key_setting`): the one that signs, then older ones, whose
    signatures are still known. Raises BadKey."""
    name = origin(settings.region, settings.service)
    return [Signer(name, key) for key in read_keys(settings.log_key, "the log's key")]
