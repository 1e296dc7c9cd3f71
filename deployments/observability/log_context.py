"""Adds task fields to each log line: task id, attempt, stage and request id.

Serve formats the lines, as JSON or as text, and adds its own request id. This module adds the fields of the current
task.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from models.progress import Stage
from storage.tasks import Task

LOGGER = "ray.serve"
"""The logger of Serve and of all modules of this project."""


@dataclass
class LogContext:
    """The task that the current thread or coroutine works on, and its stage."""

    task: Task
    stage: Stage | None


_log_context: ContextVar[LogContext | None] = ContextVar("task at hand", default=None)


@contextmanager
def bind_task(task: Task, stage: Stage | None = None) -> Iterator[None]:
    """Add the fields of `task` to all lines that are logged in this context and in copies of it."""
    token = _log_context.set(LogContext(task, stage))
    try:
        yield
    finally:
        _log_context.reset(token)


def set_stage(stage: Stage) -> None:
    """Set the stage of the current task, if there is one."""
    if (at_hand := _log_context.get()) is not None:
        at_hand.stage = stage


def install_filter() -> None:
    """Add the task fields to all log lines of this process. Call it once per replica, after Serve's logging setup."""
    logging.getLogger(LOGGER).addFilter(_FILTER_INSTALLER)


class TaskContextFilter(logging.Filter):
    """Adds the fields of the current task to a log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields. Returns True for every record: no line is dropped."""
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

    Serve's filters set the request id of the Serve call, and remove `task_id`, which Ray also uses for its own tasks.
    Serve makes new handlers when its logging is reconfigured. So this filter stays on the logger and adds
    TaskContextFilter to the current handlers at each line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fields = TaskContextFilter()

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        for handler in logging.getLogger(LOGGER).handlers:
            handler.addFilter(self._fields)
        return True


_FILTER_INSTALLER = _HandlerFilterInstaller()
