"""Promise: own timesteps modulate the audio-video cross-attention, and the other's sigma gates it, everywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from models.conditions import first_frame
from models.fixes.cross_timesteps import separate
from models.optimizations.compiled import compile_blocks
from models.optimizations.install import install
from models.optimizations.selection import Optimization
from tests.models.conftest import ignore, small
from tests.models.families import BLOCKS, TRANSFORMER_2_0, TRANSFORMER_2_3
from tests.models.fixes.conftest import Loaded
from tests.models.reference import make_image

FRAMES, HEIGHT, WIDTH, AUDIO = 2, 2, 4, 13
TOKENS = FRAMES * HEIGHT * WIDTH
ROUNDING = 2e-5
LAYERS = (
    "av_cross_attn_video_scale_shift",
    "av_cross_attn_video_a2v_gate",
    "av_cross_attn_audio_scale_shift",
    "av_cross_attn_audio_v2a_gate",
)


def transformer_of(config: dict[str, Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return LTX2VideoTransformer3DModel(**{**config, "perturbed_attn": True}).eval()


def call_of(transformer: Any, rows: int, *, audio_sigma: float | None = None) -> dict[str, Any]:
    """A call in which every token of both modalities has its own timestep, as with image conditioning."""
    generator = torch.Generator().manual_seed(rows)
    config = transformer.config
    text = [torch.randn(rows, 5, width, generator=generator) for width in _text_widths(config)]
    sigma = torch.linspace(600.0, 700.0, rows)
    return {
        "hidden_states": torch.randn(rows, TOKENS, config.in_channels, generator=generator),
        "audio_hidden_states": torch.randn(rows, AUDIO, config.audio_in_channels, generator=generator),
        "encoder_hidden_states": text[0],
        "audio_encoder_hidden_states": text[1],
        "timestep": sigma[:, None] * torch.rand(rows, TOKENS, generator=generator).round(decimals=1),
        "audio_timestep": sigma[:, None] * torch.rand(rows, AUDIO, generator=generator).round(decimals=1),
        "sigma": sigma,
        "audio_sigma": None if audio_sigma is None else torch.full((rows,), audio_sigma),
        "num_frames": FRAMES,
        "height": HEIGHT,
        "width": WIDTH,
        "fps": 24.0,
        "audio_num_frames": AUDIO,
        "return_dict": False,
    }


def _text_widths(config: Any) -> tuple[int, int]:
    if config.use_prompt_embeddings:
        return config.caption_channels, config.caption_channels
    return config.cross_attention_dim, config.audio_cross_attention_dim


@contextmanager
def timesteps_seen(transformer: Any) -> Iterator[dict[str, torch.Tensor]]:
    """The timesteps that diffusers' layers get for their tables. Broadcast values are not expanded."""
    seen: dict[str, torch.Tensor] = {}
    hooks = []
    for name in LAYERS:
        layer = getattr(transformer, name)

        def note(_layer: Any, args: Any, name: str = name) -> None:
            seen[name] = args[0]

        hooks.append(getattr(layer, "table", layer).register_forward_pre_hook(note))
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("rows", [1, 2], ids=["one prompt", "guided"])
@pytest.mark.parametrize("audio_sigma", [None, 0.0, 250.0], ids=["one sigma", "given audio", "another sigma"])
@pytest.mark.parametrize("config", [TRANSFORMER_2_0, TRANSFORMER_2_3], ids=["2.0", "2.3"])
@pytest.mark.parametrize("told", [False, True])
@torch.no_grad()
def test_each_layer_gets_its_own_timesteps(
    config: dict[str, Any], rows: int, audio_sigma: float | None, told: bool
) -> None:
    transformer = transformer_of(config)
    separate(transformer)
    call = call_of(transformer, rows, audio_sigma=audio_sigma)
    with timesteps_seen(transformer) as seen:
        transformer(**call, use_cross_timestep=told)
    factor = transformer.config.cross_attn_timestep_scale_multiplier / transformer.config.timestep_scale_multiplier
    other = call["sigma"] if audio_sigma is None else call["audio_sigma"]
    assert torch.equal(seen["av_cross_attn_video_scale_shift"], call["timestep"].flatten())
    assert torch.equal(seen["av_cross_attn_audio_scale_shift"], call["audio_timestep"].flatten())
    assert torch.equal(seen["av_cross_attn_video_a2v_gate"], other * factor)
    assert torch.equal(seen["av_cross_attn_audio_v2a_gate"], call["sigma"] * factor)


@pytest.mark.parametrize("rows", [1, 2], ids=["one prompt", "guided"])
@pytest.mark.parametrize("config", [TRANSFORMER_2_0, TRANSFORMER_2_3], ids=["2.0", "2.3"])
@torch.no_grad()
def test_the_speedups_make_the_same_of_it(config: dict[str, Any], rows: int) -> None:
    plain, fast = transformer_of(config), transformer_of(config)
    separate(plain)
    separate(fast)
    install(
        fast, (Optimization.STG_PREFIX_REUSE, Optimization.DROP_NOOP_MASK, Optimization.DEDUP_TIMESTEPS), (BLOCKS - 1,)
    )
    for kind in ({}, {"spatio_temporal_guidance_blocks": [BLOCKS - 1]}, {"isolate_modalities": True}):
        expected = plain(**call_of(plain, rows, audio_sigma=250.0), **kind)
        made = fast(**call_of(fast, rows, audio_sigma=250.0), **kind)
        for one, other in zip(made, expected, strict=True):
            assert float((one - other).abs().max()) <= ROUNDING


@torch.no_grad()
def test_few_distinct_timesteps_are_computed_once_and_the_gate_for_each_row() -> None:
    transformer = transformer_of(TRANSFORMER_2_3)
    separate(transformer)
    install(transformer, (Optimization.DEDUP_TIMESTEPS,), (BLOCKS - 1,))
    call = call_of(transformer, 2)
    with timesteps_seen(transformer) as seen:
        transformer(**call)
    assert len(seen["av_cross_attn_video_scale_shift"]) == len(call["timestep"].unique())
    assert len(seen["av_cross_attn_video_a2v_gate"]) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own modules, when its compiler is imported
@torch.no_grad()
def test_compiled_blocks_make_the_same_of_it() -> None:
    """Traced as on a GPU, with a gate of one row beside tables with one row per token."""
    plain, compiled = (transformer_of({**TRANSFORMER_2_3, "num_layers": 1}) for _ in range(2))
    for transformer in (plain, compiled):
        separate(transformer)
    compile_blocks(compiled, backend="eager")
    call = call_of(plain, 2, audio_sigma=250.0)
    for one, other in zip(compiled(**call), plain(**call), strict=True):
        assert float((one - other).abs().max()) <= ROUNDING


@torch.no_grad()
@pytest.mark.parametrize("config", [TRANSFORMER_2_0, TRANSFORMER_2_3], ids=["2.0", "2.3"])
def test_where_all_tokens_have_one_timestep_nothing_changes(config: dict[str, Any]) -> None:
    """Bit for bit: text-to-video, with the arguments that diffusers recommends for each family."""
    plain, fixed = transformer_of(config), transformer_of(config)
    separate(fixed)
    call = call_of(plain, 2)
    call.update(timestep=call["sigma"], audio_timestep=call["sigma"], use_cross_timestep=config is TRANSFORMER_2_3)
    for one, other in zip(fixed(**call), plain(**call), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("quality", ["exact", "fast"])
@pytest.mark.parametrize("name", ["2.0", "2.3", "2.5 full"])
def test_an_image_changes_the_modulation_of_its_own_tokens(loaded: Loaded, name: str, quality: str) -> None:
    """In a whole render: the gate gets the step's sigma, scale and shift get a timestep for each token."""
    model = loaded(name)
    transformer = model._text_to_video.transformer
    call: dict[str, Any] = {}
    hook = transformer.register_forward_pre_hook(lambda _module, _args, given: call.update(given), with_kwargs=True)
    with timesteps_seen(transformer) as seen:
        model._denoise(small(quality=quality), first_frame(make_image()), ignore)
    hook.remove()
    rows = len(call["hidden_states"])
    own, gate = seen["av_cross_attn_video_scale_shift"].view(rows, -1), seen["av_cross_attn_video_a2v_gate"]
    factor = transformer.config.cross_attn_timestep_scale_multiplier / transformer.config.timestep_scale_multiplier
    assert torch.equal(own, call["timestep"].view(rows, -1))
    assert not own[:, :8].any()
    assert torch.equal(gate, call["sigma"] * factor)
