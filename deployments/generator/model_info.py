"""Writes what a Generator learned about its model to the store, and retries while the store is away."""

import logging
import threading
from typing import TYPE_CHECKING

from models.errors import StoreUnavailable
from storage.sql.replicas import ReplicaQueries
from storage.tasks import ServedModel

if TYPE_CHECKING:
    from models.ltx2.model import Ltx2Model

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
