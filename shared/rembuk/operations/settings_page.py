"""docs/settings.md from `rembuk.settings`: `python -m rembuk.operations.settings_page > docs/settings.md`."""

from __future__ import annotations

import msgspec

from rembuk.settings import AboutSetting, described, groups

_ABOUT = """# Settings

Generated from `shared/rembuk/settings.py` by `make docs`, kept true by a test. Each is an environment variable, read
once when a process starts. What a value cannot be is refused then: the process names every such setting with its rule,
and exits with 2. `<SERVICE>` is REPORTS, FORUMS, NOTIFICATIONS or HUB. A text or number that is empty is as if it was
not set.

In the column "up", "yes" says that `rembuk up` and `rembuk hub up` hand the setting on from their own environment to
the services. They make the others themselves, or have no use for them. Who runs services without `rembuk up` tells each
process all that it reads.
"""


def document() -> str:
    """The page."""
    return _ABOUT + "".join(_section(group) for group in groups())


def _section(group: type[msgspec.Struct]) -> str:
    rows = "".join(_row(about, field) for about, field in described(group))
    head = "| setting | what it says | value | default | read by | up |\n|---|---|---|---|---|---|\n"
    return f"\n## {group.__doc__}\n\n{head}{rows}"


def _row(about: AboutSetting, field: msgspec.structs.FieldInfo) -> str:
    passed = "yes" if about.handed_on else ""
    return (
        f"| `{about.name}` | {about.says} | {_value(about, field)} | {_default(about, field)} "
        f"| {about.read_by} | {passed} |\n"
    )


def _value(about: AboutSetting, field: msgspec.structs.FieldInfo) -> str:
    if about.most:
        whole = "number" if field.type.__origin__ is float else "whole number"
        unit = f" ({about.unit})" if about.unit else ""
        return f"{whole}{unit}, {about.least:g} to {about.most:.0f}"
    return " or ".join(f"`{word}`" for word in about.words) or "text"


def _default(about: AboutSetting, field: msgspec.structs.FieldInfo) -> str:
    if about.otherwise:
        return about.otherwise
    if field.default is msgspec.NODEFAULT:
        return "none: it has to be set"
    if isinstance(field.default, float):
        return f"{field.default:g}"
    return f"`{field.default}`" if field.default not in ("", None) else "empty"


if __name__ == "__main__":
    print(document(), end="")
