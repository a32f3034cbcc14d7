"""Codes that an area had before it became another province's: who writes one is told the new one."""

from __future__ import annotations

from rembuk.areas.lookup import Area, areas

DECREE = "Kepmendagri 100.1.1-6117/2022"
FORMER: dict[str, str] = {
    "91.01": "93.01", "91.16": "93.02", "91.17": "93.03", "91.18": "93.04",  # to Papua Selatan
    "91.04": "94.01", "91.07": "94.02", "91.08": "94.03", "91.09": "94.04",  # to Papua Tengah
    "91.25": "94.05", "91.26": "94.06", "91.27": "94.07", "91.28": "94.08",
    "91.02": "95.01", "91.12": "95.02", "91.13": "95.03", "91.14": "95.04",  # to Papua Pegunungan
    "91.21": "95.05", "91.22": "95.06", "91.23": "95.07", "91.24": "95.08",
    "92.01": "96.01", "92.04": "96.02", "92.05": "96.03", "92.09": "96.04", "92.10": "96.05",  # to Papua Barat Daya
    "92.71": "96.71",
}  # fmt: skip
"""Regencies of Papua (91) and Papua Barat (92) before 2022, and what they are since; none of the old codes was given
again. What lies in them was numbered anew, so that a district or village is to be looked for by its name."""


def unknown_area(code: str) -> str:
    """Why there is no area of this code, for people."""
    now = FORMER.get(code[:5])
    if now is None:
        return f"there is no area {code}; find its code by: GET /v1/areas?q=<name>"
    moved = f"there is no area {code} any more: since 2022 ({DECREE}) {areas().full_name(now)} is {now}"
    if len(code) > 5:
        moved += f", and what lies in it has new numbers: GET /v1/areas?within={now}&q=<name>"
    return moved


def since_numbered(q: str, within: str | None = None) -> list[Area]:
    """What the area of this former code is now, also where it is that of what lies in it; nothing outside `within`."""
    digits = q.strip().replace(".", "")
    now = FORMER.get(f"{digits[:2]}.{digits[2:4]}") if digits.isdecimal() else None
    return [areas()[now]] if now is not None and now.startswith(within or "") else []
