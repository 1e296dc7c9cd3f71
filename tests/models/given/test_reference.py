"""Promise: a video for given audio is that of diffusers' own loop for it, and of the reference's formula.

diffusers has such a loop for unguided models, in its pipeline for more frames per second. It draws other noise, so it
gets ours.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2DFRPipeline

from models.conditions import Conditions
from models.fixes import ALL, Fix
from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.request.edits import Edit
from tests.models.families import FAMILIES
from tests.models.given.conftest import ROUNDING, calls_of, latents_of
from tests.models.given.test_audio import given
from tests.models.given.test_clip import source
from tests.models.optimizations.conftest import distance
from tests.models.reference import load

UNGUIDED = "2.3 distilled"
FIELDS: dict[str, object] = {"num_frames": 25, "frame_rate": 24.0}


def loaded(name: str, folder: Path, fixes: frozenset[Fix] = ALL) -> Ltx2Model:
    family = FAMILIES[name]
    return load(family, family.build(folder / name), folder / "cache", fixes)


def by_diffusers(model: Ltx2Model, made: Latents, noise: torch.Tensor) -> torch.Tensor:
    """The video's latents for the audio's latents of `made`, from the same noise."""
    components = model._text_to_video.components
    names = components.keys() & inspect.signature(LTX2DFRPipeline.__init__).parameters.keys()
    pipe = LTX2DFRPipeline(**{name: components[name] for name in names})
    pipe.set_progress_bar_config(disable=True)
    prepare: Callable[..., Any] = pipe.prepare_latents
    pipe.prepare_latents = lambda **options: (noise, *prepare(**options)[1:])
    video, audio = pipe(
        prompt="a cat",
        height=64,
        width=128,
        **FIELDS,
        sigmas=list(model.profile.sigmas or ()),
        generate_slots=False,
        audio_latents=made.audio,
        freeze_audio=True,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
        return_dict=False,
    )[:2]
    assert float((audio - made.audio).abs().max()) <= ROUNDING
    return video


def test_given_audio_is_what_diffusers_freezes(tmp_path: Path) -> None:
    model = loaded(UNGUIDED, tmp_path)
    with calls_of(model) as calls:
        made = latents_of(model, given(), **FIELDS)
    expected = by_diffusers(model, made, calls[0]["hidden_states"])
    assert float((made.video - expected).abs().max()) <= ROUNDING
    model.close()


@contextmanager
def by_formula(transformer: Any) -> Iterator[None]:
    """Lightricks' timesteps of the cross-attention, written down once more: gates take the other modality's sigma."""
    sigmas: dict[str, torch.Tensor] = {}
    factor = transformer.config.cross_attn_timestep_scale_multiplier / transformer.config.timestep_scale_multiplier

    def read(_module: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        sigmas.update(a2v=call["audio_sigma"], v2a=call["sigma"])
        return args, {**call, "use_cross_timestep": False}

    hook = transformer.register_forward_pre_hook(read, with_kwargs=True)
    gates = {"a2v": transformer.av_cross_attn_video_a2v_gate, "v2a": transformer.av_cross_attn_audio_v2a_gate}
    for name, gate in gates.items():
        gate.forward = lambda _timestep, _forward=gate.forward, _name=name, **options: _forward(
            sigmas[_name].flatten() * factor, **options
        )
    yield
    hook.remove()
    for gate in gates.values():
        del gate.forward


@pytest.mark.parametrize("name", ["2.0", "2.3", "2.5"])
def test_the_cross_attention_follows_the_reference_s_formula(name: str, tmp_path: Path) -> None:
    """Given audio, given frames, and both in part. Without the fix, diffusers' own formula gives other latents."""
    fixed = loaded(name, tmp_path)
    plain = loaded(name, tmp_path / "plain", ALL - {Fix.CROSS_TIMESTEPS})
    cases: tuple[Conditions, ...] = (given(), source(Edit(0, 25, replaces_video=False)), source(Edit(5, 9)))
    for conditions in cases:
        found = latents_of(fixed, conditions, **FIELDS)
        with by_formula(plain._text_to_video.transformer):
            assert distance(found, latents_of(plain, conditions, **FIELDS)) <= ROUNDING
        assert distance(found, latents_of(plain, conditions, **FIELDS)) > 100 * ROUNDING
    fixed.close()
    plain.close()
