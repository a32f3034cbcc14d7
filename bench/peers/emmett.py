"""The peer of our rebuild in Node: Emmett's, installed from npm beside a copy of emmett.mjs; none without Node."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.work import REPORT

HERE = Path(__file__).parent


def rebuilt(url: str, events: int, runs: int) -> list[float]:
    """The seconds each rebuild of so many events took."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return []
    with tempfile.TemporaryDirectory(prefix="rembuk-emmett-") as place:
        for name in ("package.json", "emmett.mjs"):
            shutil.copy(HERE / name, place)
        subprocess.run([npm, "install", "--no-package-lock", "--silent"], cwd=place, check=True)
        arguments = [url, str(events), str(runs), json.dumps(REPORT)]
        said = subprocess.run([node, "emmett.mjs", *arguments], cwd=place, check=True, capture_output=True, text=True)
    taken: list[float] = json.loads(said.stdout)
    return taken
