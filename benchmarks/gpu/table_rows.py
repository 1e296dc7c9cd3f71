"""Rows of figures. If one row's measurement fails, the next ones still run."""

from collections.abc import Callable, Mapping
from typing import Any

from models.memory.gpu import collect_and_empty_cache

Row = dict[str, Any]
ERROR = "error"
"""The column for the error."""


def tried(names: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> Row:
    """A row with `names` and the figures of `measure`, or its error. Frees the memory that `measure` used."""
    try:
        return {**names, **measure()}
    except Exception as error:
        return {**names, **explain(error)}
    finally:
        collect_and_empty_cache()


def explain(error: Exception) -> Row:
    """The row's content if the measurement failed."""
    return {ERROR: f"{type(error).__name__}: {error}"}
