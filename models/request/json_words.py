"""What a client sent, in JSON's words: what errors show of it."""

import json
from collections.abc import Mapping

MAX_SHOWN_CHARS = 80


class Described(str):
    """What was sent, in words of ours: shown without the quotes that text of the client's has."""

    __slots__ = ()


NOTHING = Described("nothing")
"""What was given where a field is missing."""


def show_value(value: object) -> str:
    """`value` as JSON spells it, in one line of printable characters, cut at MAX_SHOWN_CHARS."""
    shown = "".join(char if char.isprintable() else _escape(char) for char in _spell(value)[: 2 * MAX_SHOWN_CHARS])
    return shown if len(shown) <= MAX_SHOWN_CHARS else shown[: MAX_SHOWN_CHARS - 3] + "..."


def _spell(value: object) -> str:
    if isinstance(value, Described):
        return str(value)
    if isinstance(value, str):
        value = value[: 2 * MAX_SHOWN_CHARS]
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # no JSON, too many digits, or nested too deep
        return "an object" if isinstance(value, Mapping) else "an array" if isinstance(value, list) else "a value"


def _escape(char: str) -> str:
    """As JSON escapes it; a character beyond 16 bits is a pair, and half a pair stays one."""
    return json.dumps(char)[1:-1]
