"""Builds LTX-2 at full size without a checkpoint: the published configs, with random weights.

diffusers' own conversion script writes these configs for the published checkpoints. This module lists only the values
that differ from the defaults of diffusers' classes. The differences matter: with the default config, the video VAE
would compress eight times as much as LTX-2's.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE
from torch import nn

from models.checkpoint.profile import Family
from models.checkpoint.tiny import SCHEDULER, byte_tokenizer
from models.ltx2.text_encoding import drop_head

Configs = Mapping[str, Mapping[str, Any]]
"""Configs by component name."""

SEED = 42
VIDEO_VAE = {"spatial_compression_ratio": 32, "temporal_compression_ratio": 8, "decoder_causal": False}
LTX_2_0: Configs = MappingProxyType(
    {
        "transformer": {"rope_type": "split", "perturbed_attn": True},
        "connectors": {"rope_type": "split"},
        "vae": VIDEO_VAE,
        "audio_vae": {},
        "vocoder": {},
    }
)
"""LTX-2 (19B), with `perturbed_attn` as in models/checkpoint/profile.py."""
LTX_2_3: Configs = MappingProxyType(
    {
        "transformer": {
            "rope_type": "split",
            "perturbed_attn": True,
            "gated_attn": True,
            "cross_attn_mod": True,
            "audio_gated_attn": True,
            "audio_cross_attn_mod": True,
            "use_prompt_embeddings": False,
        },
        "connectors": {
            "rope_type": "split",
            "video_connector_num_attention_heads": 32,
            "video_connector_num_layers": 8,
            "video_gated_attn": True,
            "audio_connector_num_attention_heads": 32,
            "audio_connector_attention_head_dim": 64,
            "audio_connector_num_layers": 8,
            "audio_gated_attn": True,
            "per_modality_projections": True,
            "proj_bias": True,
        },
        "vae": {
            **VIDEO_VAE,
            "block_out_channels": (256, 512, 1024, 1024),
            "layers_per_block": (4, 6, 4, 2, 2),
            "decoder_block_out_channels": (256, 512, 512, 1024),
            "decoder_layers_per_block": (4, 6, 4, 2, 2),
            "decoder_spatio_temporal_scaling": (True, True, True, True),
            "decoder_inject_noise": (False, False, False, False, False),
            "decoder_spatial_padding_mode": "zeros",
            "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
            "upsample_residual": (False, False, False, False),
            "upsample_factor": (2, 2, 1, 2),
        },
        "audio_vae": {},
        "vocoder": {},
    }
)
FULL_SIZE: Mapping[Family, Configs] = MappingProxyType({Family.LTX_2_0: LTX_2_0, Family.LTX_2_3: LTX_2_3})
GEMMA_3_12B: Mapping[str, Any] = MappingProxyType(
    {
        "text_config": {
            "vocab_size": 262_208,
            "hidden_size": 3840,
            "intermediate_size": 15_360,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "sliding_window": 1024,
        },
        "vision_config": {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 896,
            "patch_size": 14,
        },
    }
)
"""The text encoder of LTX-2 and LTX-2.3."""


def draw_components(
    configs: Configs, device: str, held: str | None = None, *, fill: bool = True
) -> dict[str, nn.Module]:
    """All components except the text encoder. The weights are created on `device`, then moved to `held` if given."""
    torch.manual_seed(SEED)
    kinds = {
        "transformer": LTX2VideoTransformer3DModel,
        "connectors": LTX2TextConnectors,
        "vae": AutoencoderKLLTX2Video,
        "audio_vae": AutoencoderKLLTX2Audio,
        "vocoder": _vocoder_of(configs),
    }
    components: dict[str, nn.Module] = {}
    for name, kind in kinds.items():
        component = draw(kind, device, configs[name], fill=fill)
        components[name] = component if held is None else component.to(held)
    return components


def draw_text_encoder(device: str, config: Mapping[str, Any] = GEMMA_3_12B, *, fill: bool = True) -> nn.Module:
    """The text encoder. Its tokenizer is `byte_tokenizer`."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text_encoder = draw(
        lambda **given: Gemma3ForConditionalGeneration(Gemma3Config(**given)), device, config, fill=fill
    )
    drop_head(text_encoder)
    return text_encoder


def pipeline(
    components: Mapping[str, nn.Module],
    text_encoder: nn.Module | None = None,
    scheduler: type[FlowMatchEulerDiscreteScheduler] = FlowMatchEulerDiscreteScheduler,
) -> LTX2Pipeline:
    """A pipeline of these components. Without a text encoder, calls must pass embeddings."""
    tokenizer = None if text_encoder is None else byte_tokenizer()
    return LTX2Pipeline(scheduler=scheduler(**SCHEDULER), text_encoder=text_encoder, tokenizer=tokenizer, **components)


def draw(kind: Any, device: str, config: Mapping[str, Any], *, fill: bool = True) -> nn.Module:
    """A component in bfloat16 with random weights of variance 1 / inputs. Without `fill`, memory is uninitialized."""
    with torch.device("meta"):
        component: nn.Module = kind(**config)
    given = {id(tensor): tensor for tensor in (*component.parameters(), *component.buffers())}
    made = {key: _allocate(tensor, device) for key, tensor in given.items()}
    for module in component.modules():
        for held in (module._parameters, module._buffers):  # noqa: SLF001  # torch has no other way to replace them
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = made[id(tensor)]
    if fill:
        _fill(component)
    return component.eval()


def _allocate(tensor: torch.Tensor, device: str) -> torch.Tensor:
    dtype = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
    made = torch.empty(tensor.shape, dtype=dtype, device=device)
    return nn.Parameter(made, requires_grad=False) if isinstance(tensor, nn.Parameter) else made


def _fill(component: nn.Module) -> None:
    for name, tensor in (*component.named_parameters(), *component.named_buffers()):
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.ndim > 1:
            tensor.normal_(std=(1 / max(1, tensor[0].numel())) ** 0.5)
        else:
            tensor.fill_(0.0 if name.endswith(("bias", "mean")) else 1.0)


def _vocoder_of(configs: Configs) -> Any:
    return LTX2Vocoder if configs["transformer"].get("use_prompt_embeddings", True) else LTX2VocoderWithBWE
