"""A reader of Server-Sent Events as the WHATWG says what one does, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class EventSource:
    """A stream that is read line by line; `last_id` is what a browser would resume by."""

    url: str
    headers: dict[str, str]
    last_id: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    def read(self, **query: int) -> Iterator[dict[str, Any] | None]:
        """Each event as it comes, and None for each block that is none (a heartbeat); returns when the stream ends.
        Raises httpx.HTTPStatusError, httpx.TransportError."""
        resume = {"Last-Event-ID": self.last_id} if self.last_id else {}
        headers = {**self.headers, **resume}
        with httpx.stream("GET", self.url, headers=headers, params=query, timeout=httpx.Timeout(20, read=40)) as answer:
            if not answer.is_success:
                answer.read()
            answer.raise_for_status()
            assert answer.headers["content-type"] == "text/event-stream"
            name, data, last_id = "", "", self.last_id
            for line in answer.iter_lines():
                kind, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if kind == "id":
                    last_id = value
                elif kind == "event":
                    name = value
                elif kind == "data":
                    data += value
                elif not line:
                    self.last_id = last_id
                    if data:
                        event: dict[str, Any] = json.loads(data)
                        assert (event["type"], str(event["position"])) == (name, last_id)
                        self.events.append(event)
                        yield event
                    else:
                        yield None
                    name, data = "", ""

    def until(self, position: int, **query: int) -> list[dict[str, Any]]:
        """What comes until it says that everything up to a position was told; then it hangs up."""
        told = []
        for event in self.read(**query):
            if event is not None:
                told.append(event)
            if self.last_id and int(self.last_id) >= position:
                break
        return told
