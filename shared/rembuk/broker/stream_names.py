"""Names of streams and subjects, also for whoever asks NATS without its library (see `rembuk.broker.nats_asking`)."""

from __future__ import annotations

OWN_INBOX = "_INBOX"
"""What the answers of NATS are sent to, unless an account has another place for them."""

_NO_AREA, _INBOX = "_", "inbox"


def stream_name(region: str, service: str) -> str:
    """`JATIM_REPORTS` for the region `jatim` and the service `reports`."""
    return f"{region}_{service}".upper()


def inbox_name(region: str) -> str:
    """`JATIM_INBOX`: the stream of what other regions say to `jatim` (see `rembuk.federation.inbox`)."""
    return stream_name(region, _INBOX)


def subject_prefix(region: str, service: str) -> str:
    """What all subjects of one stream begin with: `polmas.jatim.reports`."""
    return f"polmas.{region}.{service}"


def subject(prefix: str, event_type: str, area: str) -> str:
    """`polmas.<region>.<service>.<Event>.<province>.<regency>.<district>`, `_` for a level the area does not name.

    Every subject has seven tokens, so that `*` counts; villages are not named (see the header `ce-area`).
    """
    levels = [level for level in area.split(".")[:3] if level]
    return ".".join([prefix, event_type, *levels, *[_NO_AREA] * (3 - len(levels))])


def area_filter(prefix: str, area: str, event_type: str = "*") -> str:
    """The subject filter for what is published about an area ("" for all), and below it: `polmas.jatim.*.*.35.78.>`.

    A village's filter is its district's.
    """
    levels = [level for level in area.split(".")[:3] if level]
    return ".".join([prefix, event_type, *levels, *([] if len(levels) == 3 else [">"])])
