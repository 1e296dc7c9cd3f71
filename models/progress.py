"""What a task is doing right now."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The stages of a task, in their order."""

    STARTING = "starting"
    """A Generator has taken the task."""
    DOWNLOADING = "downloading"
    """The weights are fetched; counted in bytes."""
    LOADING = "loading"
    """The weights are read into memory; counted in bytes where the loader tells."""
    DENOISING = "denoising"
    """The transformer works; counted in steps."""
    DECODING = "decoding"
    """Latents become frames and sound."""
    ENCODING = "encoding"
    """The clip becomes a file."""


STAGE_STARTS_AT = {
    Stage.STARTING: 0.0,
    Stage.DOWNLOADING: 0.0,
    Stage.LOADING: 0.02,
    Stage.DENOISING: 0.05,
    Stage.DECODING: 0.85,
    Stage.ENCODING: 0.92,
}
"""Where each stage begins on the way from 0 to 1: denoising is most of a task on every card."""


@dataclass(frozen=True)
class Progress:
    """One report: the stage, and how far in it. `step` counts finished denoising steps."""

    stage: Stage
    step: int = 0
    bytes_done: int = 0
    bytes_total: int = 0

    def fraction(self, num_inference_steps: int) -> float:
        """How far the whole task is, from 0 to 1. Never falls from one report of an attempt to the next."""
        start = STAGE_STARTS_AT[self.stage]
        match self.stage:
            case Stage.DOWNLOADING | Stage.LOADING:
                within = self.bytes_done / self.bytes_total if self.bytes_total else 0.0
                length = 0.02
            case Stage.DENOISING:
                within = self.step / num_inference_steps
                length = STAGE_STARTS_AT[Stage.DECODING] - start
            case _:
                within, length = 0.0, 0.0
        return start + min(within, 1.0) * length


ReportProgress = Callable[[Progress], None]
"""Called from the rendering thread. May raise TaskCanceled, which ends the work there and then."""
