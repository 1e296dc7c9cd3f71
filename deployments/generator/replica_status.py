"""What a replica says of itself: a row that /health reads. It is written at each change and with every heartbeat."""

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from models.errors import StoreUnavailable
from storage.task_store import TaskStore
from storage.tasks import GeneratorReplica, ReplicaState

HEARTBEAT_S = 5.0


class ReplicaStatus:
    """Of one replica that serves `model_name`. `at_each_beat` is called with every heartbeat, in its thread."""

    def __init__(self, tasks: TaskStore, model_name: str, at_each_beat: Callable[[], None]) -> None:
        self._tasks = tasks
        self._at_each_beat = at_each_beat
        self._replica = GeneratorReplica(uuid.uuid4().hex, model_name, ReplicaState.UNLOADED)
        self._ended, self._beat_now = threading.Event(), threading.Event()
        self._writing = threading.Lock()

    @property
    def state(self) -> ReplicaState:
        """What it does now."""
        return self._replica.state

    def start(self) -> None:
        """Start the heartbeat."""
        threading.Thread(target=self._run_heartbeat, name="heartbeat", daemon=True).start()

    def set_state(self, state: ReplicaState, message: str = "", *, bytes_done: int = 0, bytes_total: int = 0) -> None:
        """Say what it does. The heartbeat writes it again if the store is away."""
        described = replace(self._replica, state=state, message=message, bytes_done=bytes_done, bytes_total=bytes_total)
        self._update(described, at_once=state != self._replica.state)

    def set_free_memory(self, free_vram_bytes: int | None) -> None:
        """Say how much memory a render may take here."""
        self._update(replace(self._replica, free_vram_bytes=free_vram_bytes), at_once=True)

    def heartbeat_now(self) -> None:
        """Have the next heartbeat at once."""
        self._beat_now.set()

    def close(self) -> None:
        """Stop the heartbeat."""
        self._ended.set()
        self._beat_now.set()

    def deregister(self) -> None:
        """Take the row away, once the heartbeat has been told to stop. Raises StoreUnavailable."""
        with self._writing:
            self._tasks.delete_replica(self._replica.id)

    def _update(self, replica: GeneratorReplica, *, at_once: bool) -> None:
        self._replica = replica
        if at_once:
            self._write()

    def _write(self) -> None:
        """Write what it does now. One at a time: a heartbeat on its way must not bring back what was before."""
        with self._writing, suppress(StoreUnavailable):
            if not self._ended.is_set():
                self._tasks.put_replica(self._replica)

    def _run_heartbeat(self) -> None:
        while True:
            self._write()
            self._at_each_beat()
            self._beat_now.wait(HEARTBEAT_S)
            self._beat_now.clear()
            if self._ended.is_set():
                return
