"""Prints the figures for a person as soon as they are measured."""

from collections.abc import Mapping
from typing import Any

FIRST_WIDTH, WIDTH = 22, 14


class Report:
    """Prints the rows of a part that are new, and their columns where these change."""

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._shown = 0

    def begin(self, name: str) -> None:
        """A part begins. Seen at once, also in a pipe, as a run may be ended."""
        self._columns, self._shown = [], 0
        print(f"\n{name}", flush=True)

    def show(self, found: Any) -> None:
        """All that the part has found by now."""
        rows = rows_of(found)
        for row in rows[self._shown :]:
            if list(row) != self._columns:
                self._columns = list(row)
                _print(self._columns)
            _print(list(row.values()))
        self._shown = len(rows)


def rows_of(found: Any) -> list[dict[str, Any]]:
    """What a part has found as rows: it may have lines with names instead, or nothing to say."""
    if isinstance(found, Mapping):
        return [_as_row(name, value) for name, value in found.items()]
    return list(found or ())


def _as_row(name: str, value: Any) -> dict[str, Any]:
    return {"": name, **value} if isinstance(value, Mapping) else {"": name, "is": value}


def _print(cells: list[Any]) -> None:
    print("  " + "".join(_cell(value, place) for place, value in enumerate(cells)), flush=True)


def _cell(value: Any, place: int) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.ljust(FIRST_WIDTH) if place == 0 else text.rjust(WIDTH)
