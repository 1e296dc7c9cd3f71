"""The clips of one Generator that wait for an Encoder: a slow disk holds the GPU back instead of filling memory."""

from contextlib import suppress

from models.errors import StoreUnavailable
from models.progress import Stage
from storage.task_store import TaskStore
from storage.tasks import Task


class PendingClips:
    """Counts the bytes of clips that were made here and are not yet files, by asking for their rows."""

    def __init__(self, tasks: TaskStore, max_bytes: int) -> None:
        self._tasks = tasks
        self._max_bytes = max_bytes
        self._clips: dict[tuple[str, int], int] = {}

    def add(self, task: Task, size_bytes: int) -> None:
        """Note a clip that goes to an Encoder."""
        self._clips[task.id, task.claim_token] = size_bytes

    def is_full(self) -> bool:
        """Whether the next clip must wait. While the store is away, what was known last counts."""
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
