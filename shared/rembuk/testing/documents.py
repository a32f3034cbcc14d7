"""Documents whose commands are promises: a test finds them and runs them, but for the ports as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from rembuk.embedded.region import PORT_OFFSETS

_COMMAND = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (.*)\n", re.MULTILINE)


def commands(text: str) -> list[str]:
    """What a document says in its blocks of `sh`, in order."""
    return _COMMAND.findall(text)


def sections(text: str) -> dict[str, list[str]]:
    """The commands under each heading of the second level."""
    _, *parts = _HEADING.split(text)
    return {heading: commands(said) for heading, said in zip(parts[::2], parts[1::2], strict=True)}


def run(folder: Path, command: str, port_base: int, **told: str) -> subprocess.CompletedProcess[str]:
    """The command as the document has it, in `folder`, on other ports; `told` is the rest of its environment that is
    ours."""
    for service in ("reports", "forums", "notifications"):
        command = command.replace(f":{8000 + PORT_OFFSETS[service]}/", f":{port_base + PORT_OFFSETS[service]}/")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REMBUK_", "PYTEST_", "VIRTUAL"))}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder, env={**kept, "REMBUK_PORT_BASE": str(port_base), **told},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
