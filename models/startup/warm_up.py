"""Starts the slow parts of a load when the process starts: imports, and the prefetch of the weights.

Does not import Ray. Makes no decisions and raises no errors: the load meets the same error and reports it.
"""

import contextlib
import logging
import os
import threading
from pathlib import Path

from models.checkpoint.locate import find_checkpoint
from models.checkpoint.profile import CheckpointType
from models.startup.hidden_packages import HIDDEN_PACKAGES, hide_modules
from models.startup.openmp import set_waiting
from models.startup.prefetch import prefetch
from models.timing import ColdStartTimeline, Milestone

logger = logging.getLogger(__name__)


class WarmUp:
    """Imports and prefetches, each in its own thread."""

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
        """Start both threads. Returns at once."""
        self._reads.start()
        self._imports.start()

    def wait_for_imports(self) -> None:
        """Return when the imports are done. diffusers' lazy imports are not safe in two threads at once."""
        if self._imports.ident is not None:
            self._imports.join()

    def end(self) -> None:
        """Stop reading: there will be no load."""
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
        except Exception as error:  # the load reads the same files, and reports the error
            logger.warning("the weights could not be prefetched: %s", error)


def import_pipelines(device: str) -> None:
    """Import all modules that a load and a render need. On a GPU, also create the CUDA context, in another thread."""
    set_waiting()
    if device == "cpu":
        # Ray gives a replica of less than one CPU a single thread. On a CPU, no other work competes with the render.
        os.environ["OMP_NUM_THREADS"] = str(os.cpu_count() or 1)
    with hide_modules(HIDDEN_PACKAGES):
        import torch  # noqa: F401

        if device == "cuda":
            threading.Thread(target=_make_context, name="cuda-context", daemon=True).start()
        import diffusers.guiders  # noqa: F401
        from diffusers import LTX2ImageToVideoPipeline, LTX2Pipeline, LTX2VideoTransformer3DModel  # noqa: F401

        import models.ltx2.conditioned
        import models.ltx2.model  # noqa: F401


def _make_context() -> None:
    """Create the CUDA context, with the smallest possible allocation. Takes about a second."""
    import torch

    with contextlib.suppress(RuntimeError):
        torch.zeros(1, device="cuda")
