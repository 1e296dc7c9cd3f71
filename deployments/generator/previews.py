"""Stores the previews of a run where every Ingress can read them."""

import contextvars
import io
import logging
import threading
from collections.abc import Callable

from PIL import Image

from deployments.observability.metrics.definitions import (
    PREVIEW_DURATION_SECONDS,
    PREVIEW_FAILED,
    PREVIEW_STORED,
    PREVIEWS,
)
from deployments.observability.metrics.recorder import MetricsRecorder
from models.errors import StorageFull, StoreUnavailable
from models.preview import Preview
from storage.outputs.store import OutputStore, preview_key
from storage.sql.workers import WorkerQueries
from storage.tasks import Task

JPEG_QUALITY = 85

logger = logging.getLogger("ray.serve")


class PreviewPublisher:
    """Stores the newest preview of one run in a thread of its own, so that no step waits for the stores.

    Holds at most one preview that is not stored yet: a newer one replaces it. An error loses a preview and nothing
    else.
    """

    def __init__(self, tasks: WorkerQueries, outputs: OutputStore, task: Task, metrics: MetricsRecorder) -> None:
        self._tasks = tasks
        self._outputs = outputs
        self._task = task
        self._metrics = metrics
        self._changed = threading.Condition()
        self._waiting: Preview | None = None
        self._closed = False
        self._in_context: Callable[..., None] = contextvars.copy_context().run  # so that log lines name the task
        self._thread: threading.Thread | None = None

    def show(self, preview: Preview) -> None:
        """Store a preview soon."""
        self._metrics.observe(PREVIEW_DURATION_SECONDS, preview.seconds)
        with self._changed:
            self._waiting = preview
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._in_context, args=(self._run,), name="previews", daemon=True)
            self._thread.start()

    def report_failure(self, error: Exception) -> None:
        """Log that a preview could not be made."""
        self._metrics.add(PREVIEWS, outcome=PREVIEW_FAILED)
        logger.warning("task %s: no further previews: %s", self._task.id, error, exc_info=error)

    def close(self) -> None:
        """Delete the preview soon, because the run has ended. Does not wait for the stores."""
        with self._changed:
            self._closed = True
            self._waiting = None
            self._changed.notify_all()

    def _run(self) -> None:
        while (preview := self._next()) is not None:
            try:
                self._store(preview)
            except (StorageFull, StoreUnavailable) as error:
                self._metrics.add(PREVIEWS, outcome=PREVIEW_FAILED)
                logger.warning("task %s: a preview was not stored: %s", self._task.id, error.message)
        try:
            self._outputs.delete(preview_key(self._task.id))
        except StoreUnavailable as error:
            logger.warning("task %s: its preview is deleted later: %s", self._task.id, error.message)

    def _next(self) -> Preview | None:
        """Wait for a preview. None when the run has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            preview, self._waiting = self._waiting, None
            return preview

    def _store(self, preview: Preview) -> None:
        """Store the file, then name it in the row: a client that reads the row finds the file."""
        self._outputs.put(preview_key(self._task.id), encode_jpeg(preview))
        if self._tasks.record_preview(self._task, preview.step):
            self._metrics.add(PREVIEWS, outcome=PREVIEW_STORED)


def encode_jpeg(preview: Preview) -> bytes:
    """The preview as a JPEG, of some ten kilobytes."""
    buffer = io.BytesIO()
    Image.fromarray(preview.frame).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()
