"""Backpressure from the Encoder: limits the clips that wait for it, so that a slow disk does not fill the memory."""

from contextlib import suppress

from models.errors import StoreUnavailable
from models.progress import Stage
from storage.sql.api_queries import ApiQueries
from storage.tasks import Task


class PendingClips:
    """Counts the bytes of this Generator's clips that are not encoded yet. Reads their task rows to find out."""

    def __init__(self, tasks: ApiQueries, max_bytes: int) -> None:
        self._tasks = tasks
        self._max_bytes = max_bytes
        self._clips: dict[tuple[str, int], int] = {}

    def add(self, task: Task, size_bytes: int) -> None:
        """Count a clip of `size_bytes` that will be encoded."""
        self._clips[task.id, task.claim_token] = size_bytes

    def is_full(self) -> bool:
        """Whether the next clip must wait. While the store is away, the last known state counts."""
        if not self._exceeds_limit():
            return False
        with suppress(StoreUnavailable):
            self._remove_encoded()
        return self._exceeds_limit()

    def _exceeds_limit(self) -> bool:
        return sum(self._clips.values()) >= self._max_bytes

    def _remove_encoded(self) -> None:
        rows = self._tasks.get_many([task_id for task_id, _ in self._clips])
        waiting = {(row.id, row.claim_token) for row in rows if row.stage == Stage.ENCODING}
        self._clips = {clip: size for clip, size in self._clips.items() if clip in waiting}
