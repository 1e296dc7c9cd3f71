"""Distilled families with a latent upsampler, two stages by diffusers, and models with a given placement."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2LatentUpsamplePipeline, LTX2Pipeline
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel
from diffusers.pipelines.ltx2.utils import STAGE_2_DISTILLED_SIGMA_VALUES

from models.checkpoint.profile import read_profile
from models.conditions import NO_CONDITIONS, Conditions
from models.fixes import ALL, NONE
from models.lora.files import LoraFile
from models.ltx2.denoise import Latents
from models.ltx2.load import load_distilled_lora, load_upsampler
from models.ltx2.load import load_pipeline as load_placed
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory import offload
from models.memory.offload_plan import UPSAMPLER, OffloadMode, Placement
from models.request.adjustments import apply_adjustments
from models.request.request import VideoRequest
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES, FamilyCase, add_upsampler
from tests.models.loras.conftest import Pairs, merge
from tests.models.optimizations.conftest import distance
from tests.models.reference import UNGUIDED, guidance_of, load, load_pipeline

DISTILLED = tuple(name for name, case in FAMILIES.items() if case.distilled)


@pytest.fixture(scope="module", params=DISTILLED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(folder: Path) -> Path:
    add_upsampler(folder)
    return folder


@pytest.fixture(scope="module")
def plain(family: FamilyCase, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    """Without fixes: as diffusers renders."""
    model = load(family, folder, tmp_path_factory.mktemp("cache"), NONE)
    yield model
    model.close()


def upscaled(model: Ltx2Model, **fields: object) -> VideoRequest:
    """A small request in two stages, as the model renders it."""
    request = small(**{"height": 128, "width": 128, "num_frames": 17, "upscale": 2, **fields})
    return apply_adjustments(request, model.find_adjustments(request))


def in_two_stages_by_diffusers(
    folder: Path, family: FamilyCase, request: VideoRequest, pairs: Pairs | None = None
) -> Latents:
    """As in diffusers' documentation of LTX-2. With a LoRA of `pairs`, it is in the weights of the second stage."""
    pipe: LTX2Pipeline = load_pipeline(folder, family, torch.float32, from_image=False)
    upsampler = LTX2LatentUpsamplerModel.from_pretrained(folder, subfolder="latent_upsampler")
    doubling = LTX2LatentUpsamplePipeline(vae=pipe.vae, latent_upsampler=upsampler)
    doubling.set_progress_bar_config(disable=True)
    shared: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "num_frames": request.num_frames,
        "frame_rate": request.frame_rate,
        "generator": torch.Generator().manual_seed(request.seed or 0),
        "use_cross_timestep": family.cross_timestep,
        "output_type": "latent",
        "return_dict": False,
    }
    height, width = request.height, request.width
    video, audio = pipe(height=height // 2, width=width // 2, **guidance_of(family, request), **shared)
    (doubled,) = doubling(latents=video, output_type="latent", return_dict=False, height=height, width=width)
    if pairs is not None:
        merge(pipe.transformer, pairs)
        pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
            pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None
        )
    sigmas = STAGE_2_DISTILLED_SIGMA_VALUES
    start = {"latents": doubled, "audio_latents": audio, "sigmas": sigmas, "noise_scale": sigmas[0]}
    return Latents(*pipe(height=height, width=width, **start, **UNGUIDED, **shared))


def placed(folder: Path, mode: OffloadMode, file: LoraFile | None = None) -> Ltx2Model:
    """The model in `folder` with its upsampler, where `mode` puts them. `file` is its distilled LoRA, if it has one."""
    profile = replace(read_profile(folder), upsampler=True, distilled_lora=None if file is None else True)
    pipe = load_placed(folder, profile, "cpu", ALL)
    upsampler = load_upsampler(folder / UPSAMPLER, pipe.vae)
    lora = load_distilled_lora(pipe, file, profile, "cpu")
    place = offload.apply(pipe, Placement(mode, 0, 0), "cpu", upsampler)
    return Ltx2Model("placed", profile, pipe, place, LoadOptions(), upsampler=upsampler, distilled_lora=lora)


def distance_between(one: Ltx2Model, other: Ltx2Model, given: Conditions = NO_CONDITIONS) -> float:
    """The largest difference between what two models render in two stages."""
    request = upscaled(other)
    return distance(*(model._render_latents(request, given, ignore) for model in (one, other)))
