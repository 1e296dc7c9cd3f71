"""What is known about the served model: written by a Generator that loaded it, or read from checkpoint files."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from models.checkpoint.locate import find_checkpoint
from models.checkpoint.profile import CheckpointProfile, CheckpointType, matches, read_profile
from models.errors import ModelUnavailable, StoreUnavailable
from models.names import TINY, TINY_MODEL_NAME
from storage.task_store import TaskStore
from storage.tasks import ServedModel

CACHE_TTL_S = 5.0


@dataclass
class ModelInfoCache:
    """Caches what is known about the model for CACHE_TTL_S seconds, so that submits cause few extra queries.

    Blocks on the store.
    """

    store: TaskStore
    name: str
    cache_dir: Path
    checkpoint_type: CheckpointType
    _known: ServedModel | None = None
    _from_files: CheckpointProfile | None = None
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stored(self) -> ServedModel:
        """Return what a Generator stored after loading the model. `profile` is None before that."""
        return self._look()[0]

    def profile(self) -> CheckpointProfile | None:
        """Return the checkpoint's profile; None if neither a Generator nor local files provide it."""
        known, from_files = self._look()
        if known.profile is not None and matches(self.checkpoint_type, known.profile):
            return known.profile
        return from_files

    def defaults(self) -> dict[str, float]:
        """Return the defaults of omitted fields where they are known and differ from `VideoRequest`."""
        try:
            profile = self.profile()
        except StoreUnavailable:
            return {}
        return {} if profile is None else profile.defaults

    def _look(self) -> tuple[ServedModel, CheckpointProfile | None]:
        with self._lock:
            if self._known is None or time.monotonic() >= self._until:
                self._known = self.store.served_model(self.name)
                told = self._known.profile
                if self._from_files is None and (told is None or not matches(self.checkpoint_type, told)):
                    self._from_files = self._read_files()
                self._until = time.monotonic() + CACHE_TTL_S
            return self._known, self._from_files

    def _read_files(self) -> CheckpointProfile | None:
        """Read the profile from local files; None if they cannot be used. The Generator reports why."""
        try:
            model = TINY if self.name == TINY_MODEL_NAME else self.name
            folder = find_checkpoint(model, self.cache_dir, self.checkpoint_type)
            return None if folder is None else read_profile(folder, self.checkpoint_type, self.name)
        except ModelUnavailable:
            return None
