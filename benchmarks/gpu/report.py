"""The figures for a person."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

FIRST_WIDTH, WIDTH = 22, 14


def print_part(name: str, found: Any) -> None:
    """Print what one part found: rows as a table, all else as lines."""
    print(f"\n{name}")
    for title, figures in _tables(found):
        if title:
            print(f"  {title}")
        _print_table(figures)


def _tables(found: Any) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """A list of rows is a table, and so are the lines of a mapping that have the same columns."""
    if isinstance(found, list):
        return [("", found)]
    if not isinstance(found, Mapping):
        return []
    tables = [(name, value) for name, value in found.items() if _is_table(value)]
    lines = [_as_row(name, value) for name, value in found.items() if not _is_table(value)]
    return [*tables, *(("", list(alike)) for _, alike in itertools.groupby(lines, key=list))]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _as_row(name: str, value: Any) -> dict[str, Any]:
    return {"": name, **value} if isinstance(value, Mapping) else {"": name, "is": value}


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    print("  " + "".join(_cell(column, place) for place, column in enumerate(rows[0])))
    for row in rows:
        print("  " + "".join(_cell(value, place) for place, value in enumerate(row.values())))


def _cell(value: Any, place: int) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.ljust(FIRST_WIDTH) if place == 0 else text.rjust(WIDTH)
