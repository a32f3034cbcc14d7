"""Compiles the CSV files of npm's idn-area-data 4.0.1 into areas.bin, the one file that areas.py reads.

Run: python -m rembuk.areas.compile SOURCE   (SOURCE: the npm tarball, or a directory that holds data/*.csv)

Layout of areas.bin, zlib around UTF-8: code TAB record TAB code TAB record ..., sorted by code, for every
province, regency and district. A record is the unit's name; a district's record goes on with one line
".NNNN" + name for each of its villages, sorted too. No name holds a tab or a line break.
"""

import csv
import re
import sys
import tarfile
import zlib
from itertools import groupby
from pathlib import Path

TARGET = Path(__file__).with_name("areas.bin")
COUNTS = {"provinces": 38, "regencies": 514, "districts": 7_285, "villages": 83_762}
CODES = {
    "provinces": r"\d\d",
    "regencies": r"\d\d\.\d\d",
    "districts": r"\d\d\.\d\d\.\d\d",
    "villages": r"\d\d\.\d\d\.\d\d\.[123]\d{3}",
}
GLOTTAL = str.maketrans({'"': "'", "’": "'"})  # the source writes one and the same sign in three ways


class BadSource(Exception):
    """The source is not the data this project is built on; the message says what is wrong with it."""


def read_source(source: Path) -> dict[str, str]:
    """The four files as text, by name. Raises BadSource when one is missing or the archive is damaged."""
    files: dict[str, str] = {}
    try:
        if source.is_dir():
            folder = next(d for d in (source / "package/data", source / "data", source) if d.is_dir())
            for name in COUNTS:
                files[name] = (folder / f"{name}.csv").read_text("utf-8")
        else:
            with tarfile.open(source) as archive:
                for name in COUNTS:
                    member = archive.extractfile(f"package/data/{name}.csv")
                    if member is None:
                        raise BadSource(f"{source}: package/data/{name}.csv is not a file")
                    files[name] = member.read().decode("utf-8")
    except (OSError, EOFError, KeyError, UnicodeDecodeError, tarfile.TarError, zlib.error) as error:
        raise BadSource(" ".join(f"{source}: {error}".split())) from error
    return files


def units(files: dict[str, str]) -> dict[str, str]:
    """Code -> name for all levels. Raises BadSource on a wrong count, code, name or parent."""
    names: dict[str, str] = {}
    for file, count in COUNTS.items():
        before = len(names)
        for row in csv.DictReader(files[file].splitlines()):
            code, name = row.get("code") or "", (row.get("name") or "").translate(GLOTTAL)
            if not re.fullmatch(CODES[file], code, re.ASCII) or code in names:
                raise BadSource(f"{file}.csv: {code!r} is no code of this level, or it stands there twice")
            if not name or name != " ".join(name.split()):
                raise BadSource(f"{file}.csv: {code} has the unusable name {name!r}")
            if len(code) > 2 and code.rpartition(".")[0] not in names:
                raise BadSource(f"{file}.csv: {code} has no parent")
            names[code] = name
        if len(names) - before != count:
            raise BadSource(f"{file}.csv: {len(names) - before} units instead of {count}; is it 4.0.1?")
    return names


def layout(names: dict[str, str]) -> bytes:
    """The text of areas.bin before compression; a village sorts right behind its district."""
    fields: list[str] = []
    for head, group in groupby(sorted(names), key=lambda code: code[:8]):
        first, *villages = group
        fields += [head, "\n".join([names[first], *(code[8:] + names[code] for code in villages)])]
    return "\t".join(fields).encode("utf-8")


def compile_areas(source: Path, target: Path) -> bool:
    """Write the target; False when it held the same units already (it is then left alone, since another
    zlib may compress the same text to other bytes). Raises BadSource."""
    text = layout(units(read_source(source)))
    if target.exists() and zlib.decompress(target.read_bytes()) == text:
        return False
    target.write_bytes(zlib.compress(text, 9))
    return True


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m rembuk.areas.compile PATH_TO_NPM_TGZ_OR_DIR", file=sys.stderr)
        return 2
    try:
        written = compile_areas(Path(arguments[0]), TARGET)
    except BadSource as error:
        print(f"areas_compile: {error}", file=sys.stderr)
        return 1
    print(f"{TARGET}: {'written' if written else 'unchanged'}, {TARGET.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
