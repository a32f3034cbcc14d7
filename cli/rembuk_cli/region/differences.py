"""What differs between two states of a read model, row by row, in words."""

from __future__ import annotations

import json
from typing import Any, assert_never

import msgspec
from rembuk.operations.steps import Compared, RowDifference

from rembuk_cli.region.event_lines import shortened
from rembuk_cli.terminal.writing import escape, out

Row = dict[str, Any]
State = dict[str, list[Row]]
"""Table → its rows, as `rembuk.operations.replaying` tells them."""
UNSAID = {"id", "version", "position", "changed_at"}
"""Columns whose change is told already by there being an event."""


def changes(before: State, after: State) -> list[str]:
    """The rows that came or changed, in words: `problem: status reported → verified`."""
    told = []
    for table, rows in after.items():
        old = {row["id"]: row for row in before.get(table, ())}
        for row in rows:
            words = [
                _change(name, old.get(row["id"], {}).get(name), value)
                for name, value in row.items()
                if name not in UNSAID and (value or None) != (old.get(row["id"], {}).get(name) or None)
            ]
            if words:
                told.append(f"{table}: {', '.join(words)}")
    return told


def _change(name: str, old: Any, new: Any) -> str:
    return f"{name} {_short(old)} → {_short(new) if new else 'nothing'}" if old else f"{name} {_short(new)}"


def _short(value: Any) -> str:
    return shortened(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def show_comparison(step: Compared | RowDifference) -> None:
    """One table, or one row that differs."""
    match step:
        case Compared():
            differing = [
                f"{rows:,} {words}"
                for rows, words in (
                    (step.only_live, "in the live one only"), (step.only_new, "in the new one only"),
                    (step.changed, "differ"),
                )
                if rows
            ]  # fmt: skip
            told = f"[red]{', '.join(differing)}[/]" if differing else "[green]no difference[/]"
            out.print(f"[bold]{step.table}[/]: {step.rows:,} rows, {told}")
        case RowDifference(table=table):
            live, new = msgspec.json.decode(step.live), msgspec.json.decode(step.new)
            if live is None or new is None:
                told = f"in the {'live' if new is None else 'new'} one only"
            else:
                [told] = changes({table: [live]}, {table: [new]}) or [f"{table}: its place in the log"]
            out.print(f"    {(live or new)['id']} {escape(told)}")
        case _:
            assert_never(step)
