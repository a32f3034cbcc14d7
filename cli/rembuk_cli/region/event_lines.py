"""An event in one line, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rembuk_cli.terminal.writing import escape, out

if TYPE_CHECKING:
    from rembuk_cli.region.log_reading import RegionEvent

COLOURS = {"reports": "cyan", "forums": "green", "notifications": "magenta"}
TOLD = ("title", "name", "headline", "root_cause", "proposal", "done", "reason", "what", "note", "place", "text")
"""Of an event's fields, the first of these that says something is shown."""
LONGEST = 100


def show(told: RegionEvent) -> None:
    """One event, one line."""
    time = told.recorded.recorded_at.astimezone().strftime("%H:%M:%S")
    name = type(told.recorded.event).__name__
    colour = COLOURS[told.service]
    line = (
        f"[dim]{time}[/] [{colour}]{told.service:13}[/] [bold]{name:21}[/] {told.recorded.area:13} "
        f"{escape(gist(told.recorded.event))}"
    )
    if out.is_terminal:
        out.print(line, overflow="ellipsis", no_wrap=True, soft_wrap=False)
    else:
        out.print(line)


def gist(event: Any) -> str:
    """What an event says, in a few words."""
    if (level := getattr(event, "level", None)) is not None:
        return f"{level}: impact {event.impact}, urgency {event.urgency}, reach {event.reach}"
    if (effective := getattr(event, "effective", None)) is not None:
        return f"{'effective' if effective else 'not effective'}: {event.before} before, {event.after} after"
    fields = (getattr(event, field, None) for field in TOLD)
    texts = (getattr(value, "id", value) for value in fields)  # of two languages, the Indonesian
    said = next((text for text in texts if isinstance(text, str) and text), "")
    return shortened(said)


def shortened(text: str) -> str:
    """As much of a text as stands in a line; what is sealed is only named."""
    if text.startswith("sealed:"):
        return "(sealed)"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
