"""The model on its replica: loaded with the first task, asleep while idle, woken for the next task."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployments.generator.gpu_lock import HasWaiters
from deployments.generator.replica_status import ReplicaStatus
from deployments.settings import GeneratorSettings, Settings
from models.errors import ModelUnavailable, TaskCanceled, VideoError
from models.ltx2.options import LoadOptions
from models.progress import Progress, ReportProgress, Stage
from models.startup.warm_up import WarmUp
from models.timing import ColdStartTimeline
from storage.tasks import ReplicaState

if TYPE_CHECKING:
    from models.ltx2.model import Ltx2Model

SLEEP_AFTER_S = 120.0
"""The value of `generator.sleep_after_idle_s: auto`."""

logger = logging.getLogger("ray.serve")


class ModelManager:
    """Loads the model, puts it to sleep and wakes it. Starts to import and prefetch at once: a task already waits.

    `source` and `device` are the resolved values of `auto`. `note` is called with a model that was loaded or woken.
    """

    def __init__(
        self,
        settings: Settings,
        source: str,
        device: str,
        replica_status: ReplicaStatus,
        note: Callable[["Ltx2Model"], None],
    ) -> None:
        self._settings = settings.generator
        self._cache_dir = Path(settings.cache_dir)
        self._source = source
        self._device = device
        self._replica_status = replica_status
        self._on_loaded = note
        self.model: Ltx2Model | None = None
        self.timeline = ColdStartTimeline()
        self._warm_up = WarmUp(source, self._cache_dir, device, self.timeline, self._settings.checkpoint_type)
        self._warm_up.start()

    def get_or_load(self, report: ReportProgress) -> "Ltx2Model":
        """Return the model, ready to render. Raises the errors of loading or waking; the next call tries again."""
        if self.model is None:
            self.model = self._load(report)
        elif self.model.asleep:
            self._wake(self.model, report)
        return self.model

    def sleep(self, wanted: HasWaiters) -> None:
        """Move the weights to host memory, if there is room. Raises the errors of the transfer."""
        if self.model is None or not self._can_sleep(self.model):
            return
        self._replica_status.set_state(ReplicaState.SLEEPING)
        started = time.monotonic()
        try:
            gone = self.model.sleep(wanted)
        finally:
            if not self.model.asleep:
                self._replica_status.set_state(ReplicaState.READY)
        logger.info("sleep, %.1f s: %s", time.monotonic() - started, self._describe_sleep(gone, wanted))

    @staticmethod
    def _describe_sleep(gone: bool, wanted: HasWaiters) -> str:
        if gone:
            return "the GPU was freed"
        return "interrupted by a task" if wanted() else "undone, because other processes took the host memory"

    def close(self) -> None:
        """Stop prefetching."""
        self._warm_up.end()

    def _can_sleep(self, model: "Ltx2Model") -> bool:
        """Whether the model can sleep. Logs the reason when it stays awake."""
        if model.can_sleep():
            return True
        if not model.asleep:
            logger.info("the model stays awake: host memory has no room for its weights, or none stand on a GPU")
        return False

    def _load(self, report: ReportProgress) -> "Ltx2Model":
        started = time.monotonic()
        with self._report_state(ReplicaState.UNLOADED):
            report(Progress(Stage.LOADING))
            self._warm_up.wait_for_imports()
            from models.ltx2.model import Ltx2Model

            options = _load_options(self._settings)
            model = Ltx2Model.load(self._source, self._device, self._cache_dir, report, options, timeline=self.timeline)
            self._replica_status.set_free_memory(model.free_vram_bytes)
            self._on_loaded(model)
        logger.info("model loaded from %s on %s in %.1f s", self._source, self._device, time.monotonic() - started)
        logger.info("recipe: %s", model.profile.summary)
        logger.info("placement: %s\n%s", model.placement.mode, model.placement.table())
        logger.info("speed-ups: %s", ", ".join(model.optimizations) or "none")
        logger.info("LoRAs: %s", ", ".join(model.loras.names) or "none")
        return model

    def _wake(self, model: "Ltx2Model", report: ReportProgress) -> None:
        started = time.monotonic()
        with self._report_state(ReplicaState.SLEEPING):
            report(Progress(Stage.LOADING))
            model.wake()
            self._replica_status.set_free_memory(model.free_vram_bytes)
            self._on_loaded(model)
        logger.info("the weights were back on the GPU in %.1f s", time.monotonic() - started)

    @contextmanager
    def _report_state(self, before: ReplicaState) -> Iterator[None]:
        """Report the outcome of a load or a wake. A canceled task leaves the state as it was `before`."""
        try:
            yield
        except TaskCanceled:
            self._replica_status.set_state(before)
            raise
        except Exception as error:
            message = error.message if isinstance(error, VideoError) else f"{type(error).__name__}: {error}"
            self._replica_status.set_state(ReplicaState.FAILED, message)
            if isinstance(error, VideoError):
                raise
            raise ModelUnavailable(f"the model could not be loaded: {message}") from error
        self._replica_status.set_state(ReplicaState.READY)


def idle_s(sleep_after_idle_s: float | Literal["auto"] | None, device: str) -> float | None:
    """Idle seconds before the model sleeps. None means never, as for `auto` on a CPU, where sleep frees nothing."""
    if sleep_after_idle_s == "auto":
        return SLEEP_AFTER_S if device == "cuda" else None
    return sleep_after_idle_s


def _load_options(settings: GeneratorSettings) -> LoadOptions:
    return LoadOptions(
        settings.optimizations,
        None if settings.offload == "auto" else settings.offload,
        settings.weight_dtype,
        text_encoder_dtype=settings.text_encoder_dtype,
        checkpoint_type=settings.checkpoint_type,
        prompt_cache_bytes=settings.prompt_cache_bytes,
        fast_guidance_fraction=settings.fast_guidance_fraction,
        fast_float8=settings.fast_float8,
        loras=settings.lora_sources,
        latent_upsampler=settings.latent_upsampler,
        distilled_lora=settings.distilled_lora,
        distilled_lora_scale=settings.distilled_lora_scale,
    )
