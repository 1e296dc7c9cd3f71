"""The first half of a render: a request in diffusers' words, through its pipeline, up to the latents."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.checkpoint.profile import CheckpointProfile
from models.errors import RenderFailed
from models.progress import Progress, ReportProgress, Stage
from models.request.enums import DurationMode
from models.request.request import FRAMES_PER_LATENT, VideoRequest

if TYPE_CHECKING:
    import torch

ALMOST_ZERO = 1e-30
"""Stands for an audio scale of 0.0, which diffusers 0.42 takes for "not given" (`audio_scale or video_scale`). The
scale is used as `scale - 1`, and 1e-30 - 1 is the same float as 0.0 - 1."""


GUIDANCE_RESCALE = 0.7
"""How far guidance is brought back to the deviation that it started from, for picture and sound: Lightricks'
LTX_2_PARAMS, and diffusers' default since 0.42."""
MIN_AUTO_DURATION_S = 1.0
"""The shortest video that a duration head may choose, in seconds: diffusers' own bound."""


@dataclass(frozen=True)
class Latents:
    """What denoising makes, denormalised: video (1, C, T', H', W') for the VAE, audio (1, C, L, M), float32."""

    video: "torch.Tensor"
    audio: "torch.Tensor"

    @property
    def num_frames(self) -> int:
        """The frames that the picture decodes to."""
        return int(self.video.shape[2] - 1) * FRAMES_PER_LATENT + 1


def patch_denormalize_dtype(pipe: Any) -> None:
    """Have `pipe` denormalise latents of pictures in the VAE's own type, as it does where it decodes them itself.

    Asked for latents it denormalises them in float32, and in bfloat16 they would then round to others here and there.
    """
    denormalise, vae = pipe._denormalize_latents, pipe.vae  # noqa: SLF001  # diffusers has no other way to say it
    pipe._denormalize_latents = lambda latents, *statistics: denormalise(  # noqa: SLF001
        latents.to(vae.dtype), *statistics
    )


def denoise(
    pipe: Any, profile: CheckpointProfile, request: VideoRequest, inputs: Mapping[str, Any], report: ReportProgress
) -> Latents:
    """Run `pipe`, the one for text or the one for an image, up to its latents. Raises RenderFailed for NaN.

    `inputs` is what it is told of the text (see models/prompt_cache), and the image, if there is one.
    """
    from models.fixes.ancestral import seed_sampler

    generator = _seeded(request)
    seed_sampler(pipe, generator.initial_seed())
    with _first_call_reported(pipe.transformer, report):
        video, audio = pipe(
            **inputs,
            **_arguments(request, profile),
            generator=generator,
            callback_on_step_end=_reporter(report),
            callback_on_step_end_tensor_inputs=[],
            output_type="latent",
            return_dict=False,
        )
    for name, latents in (("video", video), ("audio", audio)):
        if not bool(latents.isfinite().all()):
            raise RenderFailed(f"the model produced NaN values for the {name}")
    return Latents(video, audio)


@contextlib.contextmanager
def _first_call_reported(transformer: Any, report: ReportProgress) -> Iterator[None]:
    """Report once more that no step is made yet when the transformer is first called: the text is encoded then."""

    def on_call(*_: object) -> None:
        hook.remove()
        report(Progress(Stage.DENOISING, step=0))

    hook = transformer.register_forward_pre_hook(on_call)
    try:
        yield
    finally:
        hook.remove()


def _arguments(request: VideoRequest, profile: CheckpointProfile) -> dict[str, Any]:
    """The request, but its text, in the words of diffusers."""
    return {
        "height": request.height,
        "width": request.width,
        **_length(request),
        "frame_rate": float(request.exact_frame_rate),
        "num_inference_steps": request.num_inference_steps,
        "sigmas": None if profile.sigmas is None else list(profile.sigmas),
        "guidance_scale": request.cfg_scale_video,
        "stg_scale": request.stg_scale_video,
        "modality_scale": request.modality_scale,
        "audio_guidance_scale": request.cfg_scale_audio or ALMOST_ZERO,
        "audio_stg_scale": request.stg_scale_video,
        "audio_modality_scale": request.modality_scale,
        "guidance_rescale": GUIDANCE_RESCALE,
        "audio_guidance_rescale": GUIDANCE_RESCALE,
        "spatio_temporal_guidance_blocks": list(profile.stg_blocks),
        "use_cross_timestep": profile.use_cross_timestep,
    }


def _length(request: VideoRequest) -> dict[str, Any]:
    """How long it is to be. Without a number the pipeline asks the duration head, within bounds."""
    if request.length is DurationMode.EXACT:
        return {"num_frames": request.num_rendered_frames}
    most_s = request.num_frames / float(request.exact_frame_rate)
    return {"num_frames": None, "min_seconds": min(MIN_AUTO_DURATION_S, most_s / 2), "max_seconds": most_s}


def _seeded(request: VideoRequest) -> "torch.Generator":
    """A generator on the CPU: the noise of a seed is then the same on every device."""
    import torch

    if request.seed is None:
        raise RenderFailed("seed is missing")
    return torch.Generator("cpu").manual_seed(request.seed)


def _reporter(report: ReportProgress) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    """What diffusers calls after each step. An exception from `report` leaves the pipeline through it."""

    def on_step_end(_pipe: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        report(Progress(Stage.DENOISING, step=step + 1))
        return {}

    return on_step_end
