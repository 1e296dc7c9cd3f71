"""What a load waits for, begun when the process starts: imports, and the weights' way into the page cache.

Knows no Ray. Nothing here decides anything or fails: what goes wrong comes up again in the load, which says it.
"""

import contextlib
import logging
import os
import threading
from pathlib import Path

from models.checkpoint.locate import find_checkpoint
from models.checkpoint.profile import CheckpointType
from models.ltx2.load import set_omp_passive_wait
from models.startup.hidden_packages import HIDDEN_PACKAGES, hide_modules
from models.startup.prefetch import prefetch
from models.timing.cold_start import ColdStartTimeline, Milestone

logger = logging.getLogger(__name__)


class WarmUp:
    """Imports and reads ahead, each in a thread of its own."""

    def __init__(
        self,
        model: str,
        cache_dir: Path,
        device: str,
        timeline: ColdStartTimeline,
        checkpoint_type: CheckpointType = CheckpointType.AUTO,
    ) -> None:
        self._model = model
        self._cache_dir = cache_dir
        self._checkpoint_type = checkpoint_type
        self._device = device
        self._timeline = timeline
        self._ended = threading.Event()
        self._imports = threading.Thread(target=self._import, name="imports", daemon=True)
        self._reads = threading.Thread(target=self._read, name="read-ahead", daemon=True)

    def start(self) -> None:
        """Begin. Returns at once."""
        self._reads.start()
        self._imports.start()

    def wait_for_imports(self) -> None:
        """Return when the imports are done: two threads in diffusers' lazy imports at once do not agree."""
        if self._imports.ident is not None:
            self._imports.join()

    def end(self) -> None:
        """Stop reading: nobody will load."""
        self._ended.set()

    def _import(self) -> None:
        with contextlib.suppress(Exception):
            import_pipelines(self._device)
            self._timeline.record(Milestone.IMPORTED)

    def _read(self) -> None:
        try:
            folder = find_checkpoint(self._model, self._cache_dir, self._checkpoint_type)
            if folder is not None and prefetch(folder, self._ended):
                self._timeline.record(Milestone.READ)
        except Exception as error:  # the load reads the same files, and says what is wrong with them
            logger.warning("the weights were not read ahead: %s", error)


def import_pipelines(device: str) -> None:
    """Import all that a load and a render need. On a GPU its context is made meanwhile."""
    set_omp_passive_wait()
    if device == "cpu":
        # Ray gives a replica of less than one CPU a single thread; on a CPU the render is all there is to do.
        os.environ["OMP_NUM_THREADS"] = str(os.cpu_count() or 1)
    with hide_modules(HIDDEN_PACKAGES):
        import torch  # noqa: F401

        if device == "cuda":
            threading.Thread(target=_make_context, name="cuda-context", daemon=True).start()
        import diffusers.guiders  # noqa: F401
        from diffusers import LTX2ImageToVideoPipeline, LTX2Pipeline, LTX2VideoTransformer3DModel  # noqa: F401

        import models.ltx2.model  # noqa: F401


def _make_context() -> None:
    """Make the CUDA context, a second or so, by the smallest allocation there is."""
    import torch

    with contextlib.suppress(RuntimeError):
        torch.zeros(1, device="cuda")
