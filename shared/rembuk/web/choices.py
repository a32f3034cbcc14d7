"""Which values there are where a request names another one: read off the type that it is decoded into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import inspect

_STEP = re.compile(r"\.([^.\[\]]+)|\[[^\]]*\]")


def choices(annotation: Any, path: str) -> list[str]:
    """The values at a path as msgspec writes it, `$.strategies[0]`; none where no choice is at its end."""
    return _of(inspect.type_info(annotation), [step[1] for step in _STEP.finditer(path)])


def _of(kind: inspect.Type, steps: Sequence[str | None]) -> list[str]:
    """A step is a field's name, or None for an item."""
    match kind:
        case inspect.Metadata():
            return _of(kind.type, steps)
        case inspect.UnionType():
            return [value for one in kind.types for value in _of(one, steps)]
        case inspect.LiteralType() if not steps:
            return list(map(str, kind.values))
        case inspect.StructType() if steps:
            return [
                value for field in kind.fields if field.encode_name == steps[0] for value in _of(field.type, steps[1:])
            ]
        case inspect.ListType() | inspect.VarTupleType() if steps:
            return _of(kind.item_type, steps[1:])
    return []
