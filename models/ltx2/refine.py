"""Two stages: a video is rendered at half its height and width, doubled in the latents, and refined at full size.

As in Lightricks' pipelines: the second stage has no guidance, and begins with noise at its first level. One generator
draws the noise of both. A distilled checkpoint uses the same weights for both stages, a base one adds its distilled
LoRA in the second. The audio is refined with the frames.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from models.checkpoint.profile import NO_GUIDANCE, REFINING_SIGMAS, CheckpointProfile
from models.ltx2.denoise import Latents, pipeline_arguments, run_pipeline
from models.progress import Progress, ReportProgress, Stage
from models.request.enums import DurationMode, Quality, Upscale
from models.request.request import VideoRequest

if TYPE_CHECKING:
    from torch import Generator, Tensor

FACTOR = 2


def first_stage(request: VideoRequest) -> VideoRequest:
    """The request of the first stage. Sides are multiples of 64, so that half of them are whole latents."""
    half = {"height": request.height // FACTOR, "width": request.width // FACTOR, "upscale": Upscale.NONE}
    return request.model_copy(update=half)


def second_stage(request: VideoRequest, num_frames: int) -> VideoRequest:
    """The request of the second stage, for as many frames as the first one has rendered. It has no guidance to skip."""
    length = {"length": DurationMode.EXACT, "num_frames": num_frames}
    return request.model_copy(update={**length, **NO_GUIDANCE, "quality": Quality.EXACT})


def upscale(upsampler: Any, latents: Latents, report: ReportProgress) -> "Tensor":
    """The video latents with twice the height and width."""
    import torch

    report(Progress(Stage.UPSCALING))
    with torch.no_grad():
        doubled: Tensor = upsampler(latents.video.to(upsampler.dtype))
    report(Progress(Stage.REFINING))
    return doubled


def refine(
    pipe: Any,
    profile: CheckpointProfile,
    request: VideoRequest,
    inputs: Mapping[str, Any],
    report: ReportProgress,
    *,
    generator: "Generator",
) -> Latents:
    """Run the second stage of `pipe`. `inputs` are as in `denoise`, with the latents of both modalities to begin with.

    Without `noise_scale`, diffusers adds no noise in text-to-video, and reports nothing.
    """
    sigmas = list(REFINING_SIGMAS)
    arguments = {
        **inputs,
        **pipeline_arguments(request, profile),
        "sigmas": sigmas,
        "num_inference_steps": len(sigmas),
        "noise_scale": sigmas[0],
    }
    with _deterministic(pipe):
        return run_pipeline(pipe, arguments, generator, report, Stage.REFINING)


@contextlib.contextmanager
def _deterministic(pipe: Any) -> Iterator[None]:
    """Use Euler's sampler in the second stage, as Lightricks' distilled.py: three steps cannot remove new noise."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    from models.fixes.schedule import UNSHIFTED

    own = pipe.scheduler
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(**UNSHIFTED)
    try:
        yield
    finally:
        pipe.scheduler = own
