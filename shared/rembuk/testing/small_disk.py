"""A disk that can be filled, for whoever may mount one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of its own at `place`, of so many bytes (`400m`); who may not mount one skips the test."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs leave to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, name: str = "filler") -> Path:
    """The file that takes what is left of it."""
    filler = disk / name
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 16, 512):
            while file.write(bytes(size)) == size:
                pass
    return filler
