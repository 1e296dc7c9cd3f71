"""Records of the server's responses. Fields that a newer server adds are ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Status = Literal["processing", "completed", "failed"]
Record = TypeVar("Record")


@dataclass(frozen=True)
class Submitted:
    """The response to a submit."""

    task_id: str
    seed: int
    model: str
    ignored: tuple[str, ...] = ()
    adjusted: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Estimate:
    """The estimated memory and duration of a request. If it does not fit, `nearest` has sizes and lengths that do."""

    fits: bool
    gb: float | None = None
    seconds: float | None = None
    nearest: tuple[dict[str, int], ...] = ()


@dataclass(frozen=True)
class Task:
    """The state of a task. Times are in seconds since the epoch. A field that does not apply is None.

    `downloads` has the urls of further files: `audio`, `last_frame`, `thumbnail`, `spritesheet`, `webm`, `mov`
    and `gif`.
    """

    task_id: str
    status: Status
    state: str
    num_inference_steps: int
    progress: float
    created_at: float
    model: str
    stage: str | None = None
    step: int | None = None
    eta_s: float | None = None
    queue_position: int | None = None
    paused: bool | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    seed: int | None = None
    preview_url: str | None = None
    url: str | None = None
    poster_url: str | None = None
    downloads: Mapping[str, Any] | None = None
    duration_s: float | None = None
    size_bytes: int | None = None
    error: str | None = None
    error_code: str | None = None
    retryable: bool | None = None
    adjusted: tuple[dict[str, Any], ...] | None = None
    webhook: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether the task has ended."""
        return self.status != "processing"


@dataclass(frozen=True)
class TaskPage:
    """One page of tasks, newest first. `next_cursor` is the cursor of the next page; None on the last page."""

    tasks: tuple[Task, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class EnhancedPrompt:
    """A prompt, and what the server's language model made of it."""

    prompt: str
    enhanced_prompt: str


@dataclass(frozen=True)
class Cancellation:
    """The result of a cancel. `outcome` is `canceled`, `deleted` or `already_deleted`."""

    task_id: str
    state: str
    outcome: str


@dataclass(frozen=True)
class Health:
    """The health of the server. `model` and `queue` have the same content as in /health."""

    status: str
    reason: str | None = None
    model: Mapping[str, Any] | None = None
    queue: Mapping[str, int] | None = None
    notices: tuple[str, ...] = ()
    versions: Mapping[str, str] | None = None


def from_json(kind: type[Record], body: Mapping[str, Any]) -> Record:
    """Create a record from a response body. Raises TypeError if a field is missing or has the wrong type."""
    hints = get_type_hints(kind)
    values = {field.name: body[field.name] for field in fields(kind) if field.name in body}  # type: ignore[arg-type]
    return kind(**{name: _value(name, value, hints[name]) for name, value in values.items()})


def _value(name: str, value: Any, hint: Any) -> Any:
    """Convert a JSON value to the type of its field. Raises TypeError."""
    kind, of = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        if value is None and type(None) in of:
            return None
        (hint,) = (each for each in of if each is not type(None))
        return _value(name, value, hint)
    if kind is tuple and isinstance(value, list):
        return tuple(_value(name, each, of[0]) for each in value)
    if is_dataclass(hint) and isinstance(value, dict):
        record: Any = hint
        return from_json(record, value)
    allowed: Any = {float: (int, float), Literal: str, Mapping: dict}.get(kind, kind)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    whole = isinstance(value, allowed) and (isinstance(value, bool) == (kind is bool))
    if not whole or (isinstance(value, float) and not isfinite(value)):
        raise TypeError(f"{name} is not {hint}")
    return value
