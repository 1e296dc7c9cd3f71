"""Prints the figures as a table while they are measured."""

from collections.abc import Mapping
from typing import Any

FIRST_WIDTH, WIDTH = 22, 14


class Report:
    """Prints the new rows of a part, and the header when the columns change."""

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._shown = 0

    def begin(self, name: str) -> None:
        """Begin a part. Output is flushed, because a run may be stopped early and its output may be piped."""
        self._columns, self._shown = [], 0
        print(f"\n{name}", flush=True)

    def show(self, found: Any) -> None:
        """Print the new rows. `found` is everything that the part has measured so far."""
        rows = rows_of(found)
        for row in rows[self._shown :]:
            if list(row) != self._columns:
                self._columns = list(row)
                _print(self._columns)
            _print(list(row.values()))
        self._shown = len(rows)


def rows_of(found: Any) -> list[dict[str, Any]]:
    """The results of a part as rows. A part may also return named values, or None."""
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
