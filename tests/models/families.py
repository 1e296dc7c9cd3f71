"""Tiny checkpoints in the layout of each family: the classes and the switches of the real one, at little width.

The switches are those in the configs of the published repositories; LTX-2 (19B) itself is models/tiny.py.
"""

from collections.abc import Callable, Mapping
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
from diffusers.pipelines.ltx2 import LTX2DurationHead, LTX2TextConnectors, LTX2VocoderWithBWE
from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

from models.tiny import (
    AUDIO_VAE,
    CONNECTORS,
    MEL_BINS,
    SCHEDULER,
    SPECIAL_TOKENS,
    TEXT_LAYERS,
    TEXT_WIDTH,
    TRANSFORMER,
    VIDEO_VAE,
    VOCABULARY_SIZE,
    WIDTH,
    _draw_weights,
    _text_encoder,
    _tokenizer,
)

QUIET = 0.01
BLOCKS = 2
"""So that there is a block before the last, which alone is perturbed."""

TRANSFORMER_2_3 = {
    **TRANSFORMER,
    "num_layers": BLOCKS,
    "gated_attn": True,
    "cross_attn_mod": True,
    "audio_gated_attn": True,
    "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
    "rope_type": "split",
}
CONNECTORS_2_3 = {
    **CONNECTORS,
    "per_modality_projections": True,
    "video_hidden_dim": WIDTH,
    "audio_hidden_dim": WIDTH,
    "video_gated_attn": True,
    "audio_gated_attn": True,
    "proj_bias": True,
    "rope_type": "split",
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


def build_2_3(folder: Path) -> Path:
    """LTX-2.3."""
    return _build(folder, TRANSFORMER_2_3, SCHEDULER)


def build_2_3_distilled(folder: Path) -> Path:
    """LTX-2.3 distilled, with a scheduler that says so."""
    return _build(folder, TRANSFORMER_2_3, SCHEDULER_DISTILLED)


def build_2_5(folder: Path) -> Path:
    """LTX-2.5, whose text encoder is Gemma 4."""
    return _build(folder, TRANSFORMER_2_5, SCHEDULER, _gemma_4, duration_head=_duration_head())


FAMILIES: Mapping[str, Callable[[Path], Path]] = {
    "2.3": build_2_3,
    "2.3 distilled": build_2_3_distilled,
    "2.5": build_2_5,
}


def _gemma_4() -> Gemma4UnifiedForConditionalGeneration:
    """One with a layer of each kind of attention, and as many layers as the connectors expect."""
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
    """One that finds that a video should play for a bit more than a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        head = LTX2DurationHead(WIDTH, WIDTH, pooler_hidden_dim=8, num_pooler_heads=1, mlp_hidden_dim=8)
    torch.nn.init.constant_(head.mlp_out.bias, 0.3)
    return head


def _build(
    folder: Path,
    transformer: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    text_encoder: Callable[[], Any] = _text_encoder,
    **more: Any,
) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        components: dict[str, Any] = {
            "tokenizer": _tokenizer(),
            "text_encoder": text_encoder(),
            "scheduler": FlowMatchEulerDiscreteScheduler(**scheduler),
            "vae": AutoencoderKLLTX2Video(**VIDEO_VAE_2_3),
            "audio_vae": AutoencoderKLLTX2Audio(**AUDIO_VAE),
            "connectors": LTX2TextConnectors(**CONNECTORS_2_3),
            "transformer": LTX2VideoTransformer3DModel(**transformer),
            "vocoder": LTX2VocoderWithBWE(**VOCODER_2_3),
            **more,
        }
    rng = np.random.default_rng(5)
    for name in ("text_encoder", "connectors", "transformer", "vae", "audio_vae", "vocoder"):
        _draw_weights(components[name], rng)
    _quieten(components["vocoder"])
    LTX2Pipeline(**components).save_pretrained(folder)
    return folder


def _quieten(vocoder: LTX2VocoderWithBWE) -> None:
    """Random weights are so loud that every sample is cut to 1, and all sounds would be the same."""
    for stage in (vocoder.vocoder, vocoder.bwe_generator):
        stage.conv_out.weight.data.mul_(QUIET)
