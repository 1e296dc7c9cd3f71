"""Each family's model as the server loads it, and renders of what is given up to the latents."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from models.conditions import Conditions
from models.fixes import ALL
from models.ltx2.denoise import Latents, condition_arguments, denoise
from models.ltx2.model import Ltx2Model
from models.optimizations.selection import ALWAYS_FASTER
from models.request.adjustments import apply_adjustments
from models.request.request import VideoRequest
from tests.models.conftest import ignore, small
from tests.models.families import FamilyCase
from tests.models.reference import load

ROUNDING = 2e-5
"""In float32, of latents whose values are about 1."""
TOKENS_PER_FRAME = 2 * 4
"""Of a latent frame of the small request: 64x128 pixels."""


@pytest.fixture(scope="module")
def model(family: FamilyCase, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    """With all fixes, as the server loads it."""
    model = load(family, folder, tmp_path_factory.mktemp("cache"), ALL)
    yield model
    model.close()


@pytest.fixture
def faster(family: FamilyCase, folder: Path, tmp_path: Path) -> Ltx2Model:
    """The same model with all optimizations."""
    faster = load(family, folder, tmp_path, ALL)
    faster.apply_optimizations(ALWAYS_FASTER)
    return faster


def adjusted(model: Ltx2Model, **fields: object) -> VideoRequest:
    request = small(**{"num_inference_steps": 3, **fields})
    return apply_adjustments(request, model.find_adjustments(request))


def latents_of(model: Ltx2Model, conditions: Conditions, **fields: object) -> Latents:
    request = adjusted(model, **fields)
    return model._denoise(conditions.rendered_request(request), conditions.within(request), ignore)


def by_conditioned_pipeline(model: Ltx2Model, conditions: Conditions, **fields: object) -> Latents:
    """Also where the model would choose another pipeline."""
    request, pipe = adjusted(model, **fields), model._conditioned
    with model.prompt_cache.inputs_for(request) as text:
        given = condition_arguments(conditions, request, pipe.text_encoder, ignore)
        return denoise(pipe, model.profile, request, {**text, **given}, ignore)


@contextmanager
def calls_of(model: Ltx2Model) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each call of the transformer."""
    calls: list[dict[str, Any]] = []
    hook = model._text_to_video.transformer.register_forward_pre_hook(
        lambda _module, _args, call: calls.append(dict(call)), with_kwargs=True
    )
    yield calls
    hook.remove()


def unpacked_audio(model: Ltx2Model, tokens: Tensor) -> Tensor:
    """Packed, normalized latents of audio as the pipelines return them."""
    pipe = model._conditioned
    raw = pipe._denormalize_audio_latents(tokens, pipe.audio_vae.latents_mean, pipe.audio_vae.latents_std)
    bins = pipe.audio_mel_bins // pipe.audio_vae_mel_compression_ratio
    latents: Tensor = pipe._unpack_audio_latents(raw, tokens.shape[1], num_mel_bins=bins)
    return latents


def unpacked_video(model: Ltx2Model, tokens: Tensor) -> Tensor:
    """Packed, normalized latents of frames of 64x128 pixels as the pipelines return them."""
    pipe = model._conditioned
    latents = pipe._unpack_latents(tokens, tokens.shape[1] // TOKENS_PER_FRAME, 2, 4)
    statistics = (pipe.vae.latents_mean, pipe.vae.latents_std, pipe.vae.config.scaling_factor)
    denormalized: Tensor = pipe._denormalize_latents(latents, *statistics)
    return denormalized
