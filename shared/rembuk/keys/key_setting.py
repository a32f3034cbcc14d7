"""Secret keys of 32 bytes, as a setting tells them: the region's (see `rembuk.keys.region_key`) and the log's."""

from __future__ import annotations

import base64
import re
import secrets
import shlex
import subprocess
from hashlib import sha256
from pathlib import Path

from rembuk.process import state_file
from rembuk.settings import CannotRun

KEY = 32  # bytes
COMMAND = "command:"
COMMAND_S = 10

_KEY_TEXT = re.compile(r"[A-Za-z0-9+/]{43}=")
_MAY_BE_A_KEY = re.compile(r"[A-Za-z0-9+/=\s]{30,}")


class BadKey(CannotRun):
    """The setting leads to no usable key."""


def read_keys(setting: str, what: str) -> list[bytes]:
    """The keys that a setting means, each 32 bytes in base64, apart by white space; `what` they are, for people.

    The setting is the keys themselves; or the absolute path of a file of mode 0600 that holds them; or `command:`
    and a program with its arguments (no shell), which writes them within 10 s. What is none of these is never told
    in a message: it may be a mistyped key. Raises BadKey.
    """
    setting = setting.strip()
    if setting.startswith(COMMAND):
        return _parsed(_said_by(setting.removeprefix(COMMAND), what), f"the command for {what}")
    if path := path_of(setting):
        shown = "its file" if _MAY_BE_A_KEY.fullmatch(setting) else setting
        try:
            text = _read_private(path)
        except OSError as error:
            why = error.strerror
        else:
            return _parsed(text, shown)
        raise BadKey(f"{what} in {shown} cannot be had: {why}")  # not within `except`: the error has the path
    return _parsed(setting, what)


def key_id(key: bytes) -> str:
    """What a region's key is called where it must not be shown: the first 8 hex of its SHA-256."""
    return sha256(key).hexdigest()[:8]


def path_of(setting: str) -> Path | None:
    """The file that a setting names; None where it is something else. One key in 64 begins with a slash, too."""
    setting = setting.strip()
    return Path(setting) if setting.startswith("/") and not all(map(_KEY_TEXT.fullmatch, setting.split())) else None


def create(path: Path) -> None:
    """A new key, unless there is one. Raises OSError."""
    state_file.write_once(path, base64.b64encode(secrets.token_bytes(KEY)) + b"\n")


def _parsed(text: str, where: str) -> list[bytes]:
    words = text.split()
    if not words or not all(map(_KEY_TEXT.fullmatch, words)):
        raise BadKey(f"{where} is not {KEY} bytes in base64")
    return [base64.b64decode(word) for word in words]


def _read_private(path: Path) -> str:
    text = state_file.read(path, 1024).decode("ascii", "replace")
    if path.stat().st_mode & 0o077:
        raise BadKey(f"{path} is open to others than its owner; chmod 600 it")
    return text


def _said_by(command: str, what: str) -> str:
    """What a command writes; what it says besides may carry the key, and stays unsaid."""
    try:
        said = subprocess.run(
            shlex.split(command), capture_output=True, timeout=COMMAND_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        raise BadKey(f"the command for {what} failed: {type(error).__name__}") from None
    return said.stdout.decode("ascii", "replace")
