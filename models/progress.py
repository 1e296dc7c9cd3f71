"""The progress of a task: its stages and how they map to a fraction."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from models.checkpoint.profile import REFINING_SIGMAS


class Stage(StrEnum):
    """The stages of a task, in order."""

    STARTING = "starting"
    """A Generator has taken the task."""
    DOWNLOADING = "downloading"
    """The weights are being downloaded; counted in bytes."""
    LOADING = "loading"
    """The weights are being read into memory; counted in bytes if the loader reports them."""
    DENOISING = "denoising"
    """The transformer is running; counted in steps."""
    UPSCALING = "upscaling"
    """The latents of the first of two stages are being doubled in height and width."""
    REFINING = "refining"
    """The transformer is running at full size, in the second of two stages; counted in steps of its own."""
    DECODING = "decoding"
    """Latents are being decoded into frames and audio."""
    ENCODING = "encoding"
    """The clip is being encoded into a file."""


STAGE_STARTS_AT = {
    Stage.STARTING: 0.0,
    Stage.DOWNLOADING: 0.0,
    Stage.LOADING: 0.02,
    Stage.DENOISING: 0.05,
    Stage.UPSCALING: 0.3,
    Stage.REFINING: 0.31,
    Stage.DECODING: 0.85,
    Stage.ENCODING: 0.92,
}
"""The fraction (0 to 1) of the task at which each stage begins. Denoising takes most of a task on every GPU. Of two
stages without guidance, the second takes the larger part (decision 0047)."""
GUIDED_STARTS_AT = {**STAGE_STARTS_AT, Stage.UPSCALING: 0.75, Stage.REFINING: 0.76}
"""The same with guidance, which only the first of two stages has."""


@dataclass(frozen=True)
class Progress:
    """One progress report. `step` counts finished steps of the stages denoising and refining.

    `encodes_given`: what was given is being encoded, before the first step. For the timings only.
    """

    stage: Stage
    step: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    encodes_given: bool = False

    def fraction(self, num_inference_steps: int, *, upscaled: bool = False, guided: bool = False) -> float:
        """Progress of the whole task, from 0 to 1. It never decreases within an attempt."""
        starts_at = GUIDED_STARTS_AT if guided else STAGE_STARTS_AT
        start = starts_at[self.stage]
        match self.stage:
            case Stage.DOWNLOADING | Stage.LOADING:
                within = self.bytes_done / self.bytes_total if self.bytes_total else 0.0
                end = start + 0.02
            case Stage.DENOISING:
                within = self.step / num_inference_steps
                end = starts_at[Stage.UPSCALING if upscaled else Stage.DECODING]
            case Stage.REFINING:
                within = self.step / len(REFINING_SIGMAS)
                end = starts_at[Stage.DECODING]
            case _:
                within, end = 0.0, start
        return min(start + within * (end - start), end)


ReportProgress = Callable[[Progress], None]
"""Called from the rendering thread. May raise TaskCanceled, which stops the work at that point."""
