"""Renders the same video by a direct call of diffusers, as in its documentation for each family."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    LTX2ImageToVideoPipeline,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
from PIL import Image

from models.clip import Clip
from models.fixes import NONE, Fix
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.optimizations.selection import OFF
from models.request.request import VideoRequest
from models.watermark import draw_watermark
from tests.models.conftest import ignore
from tests.models.families import BLOCKS, FamilyCase

UNGUIDED = {
    "guidance_scale": 1.0,
    "audio_guidance_scale": 1.0,
    "stg_scale": 0.0,
    "audio_stg_scale": 0.0,
    "modality_scale": 1.0,
    "audio_modality_scale": 1.0,
}
"""All six scales: a scale that is left out is guided, and one above its off value guides the video too."""


def make_image() -> Image.Image:
    rng = np.random.default_rng(7)
    return Image.fromarray(rng.integers(0, 256, (64, 128, 3), dtype=np.uint8))


def load(family: FamilyCase, folder: Path, cache_dir: Path, fixes: frozenset[Fix] = NONE) -> Ltx2Model:
    """The checkpoint of a family in `folder`, as diffusers renders it: no optimizations, and no fixes by default."""
    options = LoadOptions(checkpoint_type=family.checkpoint_type, fixes=fixes, optimizations=OFF)
    return Ltx2Model.load(str(folder), "cpu", cache_dir, ignore, options)


def by_diffusers(
    folder: Path,
    family: FamilyCase,
    request: VideoRequest,
    image: Image.Image | None,
    dtype: torch.dtype = torch.float32,
    **more: Any,
) -> tuple[Any, Any]:
    """Frames (T, H, W, 3), uint8 with a tiny model's watermark, and the waveform (channels, samples)."""
    pipe = load_pipeline(folder, family, dtype, from_image=image is not None)
    video, audio = pipe(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        height=request.height,
        width=request.width,
        frame_rate=request.frame_rate,
        use_cross_timestep=family.cross_timestep,
        generator=torch.Generator().manual_seed(request.seed or 0),
        output_type="np",
        return_dict=False,
        **{"num_frames": request.num_frames, **guidance_of(family, request), **more},
        **({} if image is None else {"image": image}),
    )
    frames = (video[0] * 255).round().astype(np.uint8)
    draw_watermark(frames)
    return frames, audio[0].float().numpy()


def assert_same(rendered: Clip, frames: Any, audio: Any) -> None:
    """Compare bit for bit. The rendered audio may end with the video."""
    assert np.array_equal(rendered.frames, frames)
    assert np.array_equal(rendered.audio, audio[:, : rendered.audio.shape[1]])


def load_pipeline(folder: Path, family: FamilyCase, dtype: torch.dtype, *, from_image: bool) -> Any:
    """Switch STG on where the checkpoint's config leaves it off, like Lightricks' own pipeline."""
    transformer = LTX2VideoTransformer3DModel.from_pretrained(
        folder / family.transformer, perturbed_attn=True, dtype=dtype
    )
    kind: Any = LTX2ImageToVideoPipeline if from_image else LTX2Pipeline
    pipe = kind.from_pretrained(folder, transformer=transformer, dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    shift = {"use_dynamic_shifting": True, "shift_terminal": 0.1}
    if family.distilled:
        shift = {"use_dynamic_shifting": False, "shift_terminal": None}
    pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config, **shift)
    return pipe


def guidance_of(family: FamilyCase, request: VideoRequest) -> dict[str, Any]:
    if family.distilled:
        return {**UNGUIDED, "sigmas": DISTILLED_SIGMA_VALUES, "num_inference_steps": len(DISTILLED_SIGMA_VALUES)}
    return {
        "guidance_scale": request.cfg_scale_video,
        "audio_guidance_scale": request.cfg_scale_audio,
        "stg_scale": request.stg_scale_video,
        "modality_scale": request.modality_scale,
        "spatio_temporal_guidance_blocks": [BLOCKS - 1],
        "num_inference_steps": request.num_inference_steps,
    }
