"""Shows request values as JSON, for error messages."""

import json
from collections.abc import Mapping

MAX_SHOWN_CHARS = 80


class Described(str):
    """A description of the value in the server's own words, shown without the quotes of a client's text."""

    __slots__ = ()


NOTHING = Described("nothing")
"""Shown for a missing field."""


def show_value(value: object) -> str:
    """`value` as JSON, on one line of printable characters, at most MAX_SHOWN_CHARS long."""
    shown = "".join(char if char.isprintable() else _escape(char) for char in _spell(value)[: 2 * MAX_SHOWN_CHARS])
    return shown if len(shown) <= MAX_SHOWN_CHARS else shown[: MAX_SHOWN_CHARS - 3] + "..."


def _spell(value: object) -> str:
    if isinstance(value, Described):
        return str(value)
    if isinstance(value, str):
        value = value[: 2 * MAX_SHOWN_CHARS]
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # not JSON, too many digits, or too deeply nested
        return "an object" if isinstance(value, Mapping) else "an array" if isinstance(value, list) else "a value"


def _escape(char: str) -> str:
    """JSON's escape sequence. A character beyond 16 bits becomes a surrogate pair; a lone surrogate stays one."""
    return json.dumps(char)[1:-1]
