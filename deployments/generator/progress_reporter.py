"""How a Generator reports: from a thread of its own, so that a slow store never holds up a step for long."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable

from models.errors import StoreUnavailable, TaskCanceled
from models.progress import Progress
from storage.task_store import TaskStore
from storage.tasks import Task

WRITE_INTERVAL_S = 0.25
"""A step is written at most so often; in between the store is only asked whether the task is still ours."""
ANSWER_TIMEOUT_S = 0.2
"""How long a step waits for the answer. No answer is not a no: the work goes on and learns it at the next step."""

logger = logging.getLogger("ray.serve")


class ProgressReporter:
    """Carries the reports of one task to the store. Call it with each Progress; it raises TaskCanceled.

    `after_each` is called in its thread when a report has been answered: nobody waits for it.
    """

    def __init__(self, store: TaskStore, task: Task, after_each: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._after_each = after_each
        self._task = task
        self._changed = threading.Condition()
        self._latest: Progress | None = None
        self._asked = 0
        self._answered = 0
        self._lost = False
        self._closed = False
        self._written: Progress | None = None
        self._written_at = 0.0
        self.last_call_at = time.monotonic()
        in_context = contextvars.copy_context().run  # so that its log lines are about the same task
        self._thread = threading.Thread(target=in_context, args=(self._run,), name=f"report-{task.id[:8]}", daemon=True)
        self._thread.start()

    def __call__(self, progress: Progress) -> None:
        """Hand over a report and look whether the task is still ours. Raises TaskCanceled."""
        self.last_call_at = time.monotonic()
        with self._changed:
            self._latest = progress
            self._asked += 1
            number = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= number or self._lost, ANSWER_TIMEOUT_S)
            if self._lost:
                raise TaskCanceled("the task was canceled, or taken over by another worker")

    def update_task(self, task: Task) -> None:
        """Go on for the same claim with more that is known of the task."""
        self._task = task

    def close(self) -> None:
        """Stop reporting. Does not wait for a store that hangs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(ANSWER_TIMEOUT_S)

    def _run(self) -> None:
        while (number := self._next()) is not None:
            try:
                lost = not self._send()
            except StoreUnavailable as error:
                logger.warning("task %s: report not taken: %s", self._task.id, error.message)
                lost, self._written = False, None
            with self._changed:
                self._lost = self._lost or lost
                self._answered = number
                self._changed.notify_all()
            self._after_each()

    def _next(self) -> int | None:
        """Wait for a report to send: its number, or None when there is none to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._asked > self._answered)
            return None if self._closed or self._lost else self._asked

    def _send(self) -> bool:
        progress = self._latest
        assert progress is not None  # noqa: S101  # _next waits for one
        same_stage = self._written is not None and self._written.stage == progress.stage
        if same_stage and time.monotonic() - self._written_at < WRITE_INTERVAL_S:
            return self._store.owns_task(self._task)
        self._written, self._written_at = progress, time.monotonic()
        return self._store.report_progress(self._task, progress)
