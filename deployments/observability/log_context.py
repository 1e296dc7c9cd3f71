"""Every line of a log says which task it is about: its id, attempt, stage and request id, in fields of their own.

Serve writes the lines, as JSON or as text, and names its own request; the fields of the task at hand come from here.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from models.progress import Stage
from storage.tasks import Task

LOGGER = "ray.serve"
"""The logger of Serve and of all that is ours."""


@dataclass
class LogContext:
    """The task that this thread or coroutine works on, and its stage."""

    task: Task
    stage: Stage | None


_log_context: ContextVar[LogContext | None] = ContextVar("task at hand", default=None)


@contextmanager
def bind_task(task: Task, stage: Stage | None = None) -> Iterator[None]:
    """Mark what is logged within, in this context and in copies of it, as being about `task`."""
    token = _log_context.set(LogContext(task, stage))
    try:
        yield
    finally:
        _log_context.reset(token)


def set_stage(stage: Stage) -> None:
    """Note that the task at hand has come to `stage`."""
    if (at_hand := _log_context.get()) is not None:
        at_hand.stage = stage


def install_filter() -> None:
    """Put the fields on all lines of this process. A replica calls it once, when Serve has set up its logger."""
    logging.getLogger(LOGGER).addFilter(_FILTER_INSTALLER)


class TaskContextFilter(logging.Filter):
    """Adds the fields of the task at hand."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        if (at_hand := _log_context.get()) is None:
            return True
        record.task_id = at_hand.task.id
        record.attempt = at_hand.task.attempts + 1
        if at_hand.stage is not None:
            record.stage = at_hand.stage.value
        if at_hand.task.context.request_id:
            record.request_id = at_hand.task.context.request_id
        return True


class _HandlerFilterInstaller(logging.Filter):
    """Keeps TaskContextFilter on each handler, behind Serve's own filters.

    Those name the call as the request, and remove `task_id`, which is Ray's word for a call, too. Serve makes
    new handlers when its logging is configured anew, so this one stays on the logger and looks at every line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fields = TaskContextFilter()

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        for handler in logging.getLogger(LOGGER).handlers:
            handler.addFilter(self._fields)
        return True


_FILTER_INSTALLER = _HandlerFilterInstaller()
