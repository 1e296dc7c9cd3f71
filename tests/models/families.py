"""Tiny checkpoints in the layout of each family: the real classes and config switches, at small width.

The switches and the schedulers are those in the configs of the published repositories.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import (
    LTX2DurationHead,
    LTX2LatentUpsamplerModel,
    LTX2TextConnectors,
    LTX2Vocoder,
    LTX2VocoderWithBWE,
)
from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

from benchmarks.full_size import LTX_2_3
from models.checkpoint.base_variant import BASE_VARIANT
from models.checkpoint.profile import CheckpointType
from models.checkpoint.tiny import (
    AUDIO_VAE,
    CONNECTORS,
    MEL_BINS,
    SCHEDULER,
    SPECIAL_TOKENS,
    TEXT_LAYERS,
    TEXT_WIDTH,
    TRANSFORMER,
    UPSAMPLER,
    VIDEO_VAE,
    VOCABULARY_SIZE,
    VOCODER,
    WIDTH,
    _draw_weights,
    _text_encoder,
    byte_tokenizer,
)

QUIET = 0.01
DRAWN = ("text_encoder", "connectors", "transformer", "vae", "audio_vae", "vocoder")
BLOCKS = 2
"""Two, so that there is a block before the last one. Only the last one is perturbed."""

TRANSFORMER_2_0 = {**TRANSFORMER, "num_layers": BLOCKS, "rope_type": "split", "perturbed_attn": False}
CONNECTORS_2_0 = {**CONNECTORS, "rope_type": "split"}
VIDEO_VAE_2_0 = {**VIDEO_VAE, "decoder_spatial_padding_mode": "reflect"}
TRANSFORMER_2_3 = {**TRANSFORMER_2_0, **LTX_2_3["transformer"]}
CONNECTORS_2_3 = {
    **CONNECTORS_2_0,
    "per_modality_projections": True,
    "video_hidden_dim": WIDTH,
    "audio_hidden_dim": WIDTH,
    "video_gated_attn": True,
    "audio_gated_attn": True,
    "proj_bias": True,
}
VIDEO_VAE_2_3 = {
    **VIDEO_VAE,
    "decoder_block_out_channels": (8, 16, 16, 32),
    "decoder_layers_per_block": (1, 1, 1, 1, 1),
    "decoder_spatio_temporal_scaling": (True, True, True, True),
    "decoder_inject_noise": (False, False, False, False, False),
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "upsample_residual": (False, False, False, False),
    "upsample_factor": (2, 2, 1, 2),
    "decoder_causal": False,
}
VOCODER_2_3 = {"in_channels": 2 * MEL_BINS, "hidden_channels": 64, "bwe_hidden_channels": 32}
SCHEDULER_DISTILLED = {**SCHEDULER, "use_dynamic_shifting": False, "shift_terminal": None}
TRANSFORMER_2_5 = {**TRANSFORMER_2_3, "ff_bias": False, "use_keyframes_abs_pos_embedding": True}


def build_2_0(folder: Path) -> Path:
    """LTX-2 (19B)."""
    return _save(folder, **_parts_2_0(), scheduler=SCHEDULER)


def build_2_0_distilled(folder: Path) -> Path:
    """LTX-2 distilled, with a scheduler config that shows it."""
    return _save(folder, **_parts_2_0(), scheduler=SCHEDULER_DISTILLED)


def build_2_3(folder: Path) -> Path:
    """LTX-2.3."""
    return _save(folder, **_parts_2_3(TRANSFORMER_2_3), scheduler=SCHEDULER)


def build_2_3_distilled(folder: Path) -> Path:
    """LTX-2.3 distilled, with a scheduler config that shows it."""
    return _save(folder, **_parts_2_3(TRANSFORMER_2_3), scheduler=SCHEDULER_DISTILLED)


def build_2_5(folder: Path) -> Path:
    """LTX-2.5, with Gemma 4: its index names the distilled transformer, and the full one lies beside it."""
    parts = {**_parts_2_3(TRANSFORMER_2_5), "text_encoder": _gemma_4(), "duration_head": _duration_head()}
    _save(folder, **parts, scheduler=SCHEDULER_DISTILLED)
    _draw(LTX2VideoTransformer3DModel(**TRANSFORMER_2_5), seed=6).save_pretrained(folder / BASE_VARIANT)
    return folder


def add_upsampler(folder: Path) -> Path:
    """Add a latent upsampler to a checkpoint, in the folder that Lightricks' repositories have. Returns its folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        upsampler = LTX2LatentUpsamplerModel(**UPSAMPLER)
    _draw(upsampler, seed=9).save_pretrained(folder / "latent_upsampler")
    return folder / "latent_upsampler"


@dataclass(frozen=True)
class FamilyCase:
    """How to build a family's checkpoint, the operator's setting for it, and its expected diffusers classes."""

    build: Callable[[Path], Path]
    distilled: bool
    checkpoint_type: CheckpointType = CheckpointType.AUTO
    cross_timestep: bool = True
    transformer: str = "transformer"
    sample_rate_hz: int = 48_000


FAMILIES: Mapping[str, FamilyCase] = {
    "2.0": FamilyCase(build_2_0, distilled=False, cross_timestep=False, sample_rate_hz=24_000),
    "2.0 distilled": FamilyCase(build_2_0_distilled, distilled=True, cross_timestep=False, sample_rate_hz=24_000),
    "2.3": FamilyCase(build_2_3, distilled=False),
    "2.3 distilled": FamilyCase(build_2_3_distilled, distilled=True),
    "2.5": FamilyCase(build_2_5, distilled=True),
    "2.5 full": FamilyCase(build_2_5, distilled=False, checkpoint_type=CheckpointType.BASE, transformer=BASE_VARIANT),
}


def _gemma_4() -> Gemma4UnifiedForConditionalGeneration:
    """A text encoder with a layer of each kind of attention, and as many layers as the connectors expect."""
    text = {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": TEXT_WIDTH,
        "layer_types": ["sliding_attention", "full_attention"],
        "pad_token_id": SPECIAL_TOKENS.index("<pad>"),
    }
    return Gemma4UnifiedForConditionalGeneration(Gemma4UnifiedConfig(text_config=text))


def _duration_head() -> LTX2DurationHead:
    """A duration head whose prediction is a little more than a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        head = LTX2DurationHead(WIDTH, WIDTH, pooler_hidden_dim=8, num_pooler_heads=1, mlp_hidden_dim=8)
    torch.nn.init.constant_(head.mlp_out.bias, 0.3)
    return head


def _parts_2_0() -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return {
            "text_encoder": _text_encoder(),
            "vae": AutoencoderKLLTX2Video(**VIDEO_VAE_2_0),
            "connectors": LTX2TextConnectors(**CONNECTORS_2_0),
            "transformer": LTX2VideoTransformer3DModel(**TRANSFORMER_2_0),
            "vocoder": LTX2Vocoder(**VOCODER),
        }


def _parts_2_3(transformer: Mapping[str, Any]) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return {
            "text_encoder": _text_encoder(),
            "vae": AutoencoderKLLTX2Video(**VIDEO_VAE_2_3),
            "connectors": LTX2TextConnectors(**CONNECTORS_2_3),
            "transformer": LTX2VideoTransformer3DModel(**transformer),
            "vocoder": LTX2VocoderWithBWE(**VOCODER_2_3),
        }


def _save(folder: Path, *, scheduler: Mapping[str, Any], **parts: Any) -> Path:
    """Draw the weights of all parts except the duration head, and save them like diffusers."""
    parts["audio_vae"] = AutoencoderKLLTX2Audio(**AUDIO_VAE)
    for name in DRAWN:
        _draw(parts[name], seed=5)
    _quieten(parts["vocoder"])
    for autoencoder in (parts["vae"], parts["audio_vae"]):
        _set_statistics(autoencoder)
    schedules = FlowMatchEulerDiscreteScheduler(**scheduler)
    LTX2Pipeline(tokenizer=byte_tokenizer(), scheduler=schedules, **parts).save_pretrained(folder)
    return folder


def _draw(component: Any, seed: int) -> Any:
    _draw_weights(component, np.random.default_rng(seed))
    return component


def _set_statistics(autoencoder: Any) -> None:
    """Set a mean and deviation for the latents. With 0 and 1, a missing normalization would not be noticed."""
    rng = np.random.default_rng(8)
    for buffer, low, high in ((autoencoder.latents_mean, -0.5, 0.5), (autoencoder.latents_std, 0.5, 1.5)):
        buffer.copy_(torch.from_numpy(rng.uniform(low, high, tuple(buffer.shape))))


def _quieten(vocoder: Any) -> None:
    """Scale the output layer down. Otherwise every sample is clipped to 1, and all audio is equal."""
    stages = (vocoder.vocoder, vocoder.bwe_generator) if isinstance(vocoder, LTX2VocoderWithBWE) else ()
    for stage in stages:
        stage.conv_out.weight.data.mul_(QUIET)
