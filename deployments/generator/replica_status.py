"""The status row of a Generator replica, and what it knows about its model. The Ingress reads both.

The row is written at each change and each heartbeat.
"""

import logging
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from models.errors import StoreUnavailable
from storage.sql.replicas import ReplicaQueries
from storage.tasks import GeneratorReplica, ReplicaState, ServedModel

if TYPE_CHECKING:
    from models.ltx2.model import Ltx2Model

HEARTBEAT_S = 5.0


class ReplicaStatus:
    """The status of one replica of `model_name`. The heartbeat thread calls `at_each_beat` after each heartbeat."""

    def __init__(self, tasks: ReplicaQueries, model_name: str, at_each_beat: Callable[[], None]) -> None:
        self._tasks = tasks
        self._at_each_beat = at_each_beat
        self._replica = GeneratorReplica(uuid.uuid4().hex, model_name, ReplicaState.UNLOADED)
        self._ended, self._beat_now = threading.Event(), threading.Event()
        self._writing = threading.Lock()

    @property
    def state(self) -> ReplicaState:
        """The current state of the replica."""
        return self._replica.state

    def start(self) -> None:
        """Start the heartbeat."""
        threading.Thread(target=self._run_heartbeat, name="heartbeat", daemon=True).start()

    def set_state(self, state: ReplicaState, message: str = "", *, bytes_done: int = 0, bytes_total: int = 0) -> None:
        """Set the state and write it if it is a new one. While the store is away, the heartbeat writes it later."""
        described = replace(self._replica, state=state, message=message, bytes_done=bytes_done, bytes_total=bytes_total)
        self._update(described, at_once=state != self._replica.state)

    def set_free_memory(self, free_vram_bytes: int | None) -> None:
        """Set how much GPU memory a render may use, in bytes, and write it. None: unknown."""
        self._update(replace(self._replica, free_vram_bytes=free_vram_bytes), at_once=True)

    def heartbeat_now(self) -> None:
        """Run the next heartbeat now."""
        self._beat_now.set()

    def close(self) -> None:
        """Stop the heartbeat."""
        self._ended.set()
        self._beat_now.set()

    def deregister(self) -> None:
        """Delete the row, after `close`. Raises StoreUnavailable."""
        with self._writing:
            self._tasks.delete_replica(self._replica.id)

    def _update(self, replica: GeneratorReplica, *, at_once: bool) -> None:
        self._replica = replica
        if at_once:
            self._write()

    def _write(self) -> None:
        """Write the row. One write at a time, so that a heartbeat in progress cannot restore an older state."""
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


logger = logging.getLogger("ray.serve")


class ModelInfoWriter:
    """The writer of one Generator. What could not be written is written with a later heartbeat."""

    def __init__(self, tasks: ReplicaQueries, model_name: str) -> None:
        self._tasks = tasks
        self._model_name = model_name
        self._lock = threading.Lock()
        self._unwritten: ServedModel | None = None

    def record(self, model: "Ltx2Model") -> None:
        """Write the model's profile and its free GPU memory."""
        with self._lock:
            self._unwritten = ServedModel(self._model_name, model.profile, model.free_vram_bytes)
        self.write()

    def write(self) -> None:
        """Write what is not written yet. Never raises StoreUnavailable."""
        with self._lock:
            if self._unwritten is None:
                return
            try:
                self._tasks.record_model(self._unwritten)
            except StoreUnavailable as error:
                logger.warning("the model's profile and free memory are written later: %s", error.message)
                return
            self._unwritten = None
