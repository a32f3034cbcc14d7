"""Logs as JSON lines on stderr, by structlog; what libraries log comes out the same way, and no line ever raises."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from uuid_utils import uuid7

from rembuk.process.lines import Lines

_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)


def begin_journey(correlation_id: str) -> None:
    """Have every line that this task logs from here on tell its correlation id; "" for a new one, made when needed."""
    _correlation_id.set(correlation_id)


def correlation_id() -> str:
    """That of the journey this task is on; "" outside of any."""
    if (known := _correlation_id.get()) == "":
        known = str(uuid7())
        _correlation_id.set(known)
    return known or ""


def name_journey(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """The structlog processor that adds the correlation id to a line."""
    if known := correlation_id():
        line.setdefault("correlation_id", known)
    return line


def configure(service: str, process: str, level: int = logging.INFO) -> None:
    """Send everything from `level` up to stderr; each line says which service and process it is from."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        name_journey,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    lines = Lines(2)
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(lines),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, process=process)
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class LastWord:
    """What a task logs of a state that may last for days: each time that it changes, once. `well` is its line when it
    is over, and `about` stands in every line."""

    def __init__(self, log: Any, well: str, **about: str) -> None:
        self._log, self._well, self._about = log, well, about
        self._said = ""

    def say(self, what: str, critical: bool = False) -> None:
        """Unless it was the last word already; "" where all is well."""
        if what != self._said:
            self._said = what
            (self._log.critical if critical else self._log.info)(what or self._well, **self._about)
