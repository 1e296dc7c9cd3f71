"""The first half of a render: translates a request for diffusers and runs the pipeline up to the latents."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from models.checkpoint.profile import CheckpointProfile
from models.conditions import Conditions
from models.errors import RenderFailed
from models.ltx2.preview import Previewer
from models.progress import Progress, ReportProgress, Stage
from models.request.enums import DurationMode
from models.request.request import FRAMES_PER_LATENT, VideoRequest

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

ALMOST_ZERO = 1e-30
"""Used for an audio scale of 0.0, which diffusers 0.42 treats as "not given" (`audio_scale or video_scale`). The scale
is used as `scale - 1`, and 1e-30 - 1 is the same float as 0.0 - 1."""


GUIDANCE_RESCALE = 0.7
"""How far guidance is rescaled to the original standard deviation, for video and audio. Source: Lightricks'
LTX_2_PARAMS, and diffusers' default since 0.42."""
MIN_AUTO_DURATION_S = 1.0
"""The shortest video that a duration head may choose, in seconds. This is diffusers' own bound."""


@dataclass(frozen=True)
class Latents:
    """The denormalized result of denoising: video (1, C, T', H', W') for the VAE, audio (1, C, L, M), float32."""

    video: "torch.Tensor"
    audio: "torch.Tensor"

    @property
    def num_frames(self) -> int:
        """The number of frames that the video latents decode to."""
        return int(self.video.shape[2] - 1) * FRAMES_PER_LATENT + 1


def patch_denormalize_dtype(pipe: Any) -> None:
    """Make `pipe` denormalize video latents in the VAE's dtype, as it does when it decodes them itself.

    With `output_type="latent"` it denormalizes in float32; rounded to bfloat16 later, some values would differ.
    """
    denormalise, vae = pipe._denormalize_latents, pipe.vae  # noqa: SLF001  # diffusers has no public way to change it
    pipe._denormalize_latents = lambda latents, *statistics: denormalise(  # noqa: SLF001
        latents.to(vae.dtype), *statistics
    )


def denoise(
    pipe: Any,
    profile: CheckpointProfile,
    request: VideoRequest,
    inputs: Mapping[str, Any],
    report: ReportProgress,
    *,
    generator: "torch.Generator | None" = None,
    previewer: Previewer | None = None,
) -> Latents:
    """Run `pipe` (one of the three pipelines) up to its latents. Raises RenderFailed for NaN values.

    `inputs` are the pipeline's text arguments (see models/ltx2/prompt_cache.py), and those of what is given. These may
    replace arguments of the request (see models/ltx2/late_start.py). `generator` is that of `seeded`, and by default a
    new one.
    """
    arguments = {**pipeline_arguments(request, profile), **inputs}
    return run_pipeline(pipe, arguments, generator or seeded(request), report, previewer=previewer)


def run_pipeline(
    pipe: Any,
    arguments: Mapping[str, Any],
    generator: "torch.Generator",
    report: ReportProgress,
    stage: Stage = Stage.DENOISING,
    *,
    previewer: Previewer | None = None,
) -> Latents:
    """Run `pipe` with `arguments` up to its latents, and report its steps as those of `stage`."""
    from models.fixes.ancestral import seed_sampler

    seed_sampler(pipe, generator.initial_seed())
    watching = contextlib.nullcontext() if previewer is None else previewer.watching()
    with _first_call_reported(pipe.transformer, report, stage), watching:
        video, audio = pipe(
            **arguments,
            generator=generator,
            callback_on_step_end=_reporter(report, stage, previewer),
            callback_on_step_end_tensor_inputs=[],
            output_type="latent",
            return_dict=False,
        )
    for name, latents in (("video", video), ("audio", audio)):
        if not bool(latents.isfinite().all()):
            raise RenderFailed(f"the model produced NaN values for the {name}")
    return Latents(video, audio)


@contextlib.contextmanager
def _first_call_reported(transformer: Any, report: ReportProgress, stage: Stage) -> Iterator[None]:
    """Report step 0 again at the transformer's first call: the text is encoded by then."""

    def on_call(*_: object) -> None:
        hook.remove()
        report(Progress(stage, step=0))

    hook = transformer.register_forward_pre_hook(on_call)
    try:
        yield
    finally:
        hook.remove()


def pipeline_arguments(request: VideoRequest, profile: CheckpointProfile) -> dict[str, Any]:
    """The request's parameters, without its text, under diffusers' names."""
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
    """The video's length. Without `num_frames`, the pipeline asks the duration head, within the two bounds."""
    if request.length is DurationMode.EXACT:
        return {"num_frames": request.num_rendered_frames}
    most_s = request.num_frames / float(request.exact_frame_rate)
    return {"num_frames": None, "min_seconds": min(MIN_AUTO_DURATION_S, most_s / 2), "max_seconds": most_s}


def seeded(request: VideoRequest) -> "torch.Generator":
    """A CPU generator, so that a seed gives the same noise on every device."""
    import torch

    if request.seed is None:
        raise RenderFailed("seed is missing")
    return torch.Generator("cpu").manual_seed(request.seed)


def _reporter(
    report: ReportProgress, stage: Stage, previewer: Previewer | None
) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    """The callback for diffusers after each step. An exception from `report` ends the pipeline call."""

    def on_step_end(_pipe: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        report(Progress(stage, step=step + 1))
        if previewer is not None:
            previewer.after_step(step + 1)
        return {}

    return on_step_end


ALREADY_COMPRESSED = 0
"""The CRF that makes diffusers skip its own compression."""


def compress_image(image: "Image", width: int, height: int, text_encoder: Any) -> "Image":
    """Compress an image with the CRF of the model's family, and bring it to the video's size.

    `image` is RGB of about the video's aspect ratio, and at least of its size. One of exactly its size is only
    compressed.
    """
    from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf, resolve_default_image_crf
    from PIL import Image, ImageOps

    compressed = apply_image_conditioning_crf(np.asarray(image), resolve_default_image_crf(text_encoder))
    return ImageOps.fit(Image.fromarray(compressed), (width, height), Image.Resampling.LANCZOS)


def image_arguments(image: "Image", width: int, height: int, text_encoder: Any) -> dict[str, Any]:
    """The image arguments of image-to-video for diffusers. For `image` see `compress_image`."""
    return {"image": compress_image(image, width, height, text_encoder), "image_crf": ALREADY_COMPRESSED}


def condition_arguments(
    conditions: Conditions,
    request: VideoRequest,
    text_encoder: Any,
    report: ReportProgress,
    stage: Stage = Stage.DENOISING,
) -> dict[str, Any]:
    """The arguments of the pipeline that keeps what is given (see models/ltx2/conditioned.py)."""
    from models.ltx2.conditioned import GivenImage, GivenMedia

    images = [
        GivenImage(
            compress_image(each.image, request.width, request.height, text_encoder), each.place, request.num_frames
        )
        for each in conditions.images
    ]
    started = partial(report, Progress(stage, encodes_given=True))
    return {"conditions": GivenMedia(images, conditions.audio, conditions.clip, conditions.control, started)}
