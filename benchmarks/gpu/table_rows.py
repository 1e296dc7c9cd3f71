"""Rows of figures. If one row fails, the next ones go on."""

from collections.abc import Callable, Mapping
from typing import Any

from models.memory.gpu import collect_and_empty_cache

Row = dict[str, Any]
ERROR = "error"
"""The column of what went wrong."""


def tried(names: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> Row:
    """A row called `names` of what `measure` finds, or of what went wrong. What it held is given back."""
    try:
        return {**names, **measure()}
    except Exception as error:
        return {**names, **explain(error)}
    finally:
        collect_and_empty_cache()


def explain(error: Exception) -> Row:
    """What stands in the place of figures."""
    return {ERROR: f"{type(error).__name__}: {error}"}
