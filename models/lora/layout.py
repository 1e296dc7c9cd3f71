"""Tells which tensors of a LoRA belong to which layer. Does not import torch.

| layout | a name |
|---|---|
| diffusers | `transformer.transformer_blocks.0.attn1.to_q.lora_A.weight` |
| Lightricks | `diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight` |
| ComfyUI | `diffusion_model.transformer_blocks.0.attn1.to_q.lora_down.weight`, with `.alpha` |
| kohya | `lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight`, with `.alpha` |

Lightricks and diffusers have other names for some layers outside the attention.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from models.errors import LoraUnusable

DOWN, UP, ALPHA = "down", "up", "alpha"
ENDINGS = MappingProxyType(
    {
        ".lora_A.weight": DOWN,
        ".lora_A.default.weight": DOWN,
        ".lora_down.weight": DOWN,
        ".lora.down.weight": DOWN,
        ".lora_B.weight": UP,
        ".lora_B.default.weight": UP,
        ".lora_up.weight": UP,
        ".lora.up.weight": UP,
        ".alpha": ALPHA,
    }
)
"""The end of a tensor's name, and what the tensor is."""
PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")
KOHYA = "lora_unet_"
CONNECTORS = (
    *("connectors.", "text_embedding_projection.", "text_encoder."),
    *("video_embeddings_connector.", "audio_embeddings_connector."),
)
"""Names of layers that read the text. Their results are cached for later tasks, so a LoRA cannot change them here."""
RENAMED = MappingProxyType(
    {
        "patchify_proj": "proj_in",
        "audio_patchify_proj": "audio_proj_in",
        "adaln_single": "time_embed",
        "audio_adaln_single": "audio_time_embed",
        "prompt_adaln_single": "prompt_adaln",
        "audio_prompt_adaln_single": "audio_prompt_adaln",
        "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
        "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
        "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
        "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
    }
)
"""Lightricks' name of a layer outside the blocks, and that of diffusers."""


@dataclass(frozen=True)
class LayerTensors:
    """The names of the tensors of one layer in a LoRA's file."""

    down: str
    up: str
    alpha: str | None = None


def group_by_layer(lora: str, tensors: Iterable[str], layers: Collection[str]) -> Mapping[str, LayerTensors]:
    """The tensors of each layer of the model, which has the linear layers `layers`.

    Raises LoraUnusable for a tensor that belongs to no layer, for one of another kind than LoRA, and for half a pair.
    """
    flat = _flat_names(layers)
    found: dict[str, dict[str, str]] = {}
    for tensor in sorted(tensors):
        stem, kind = _split(lora, tensor)
        layer = _layer_of(stem, flat)
        if layer not in layers:
            raise LoraUnusable(_unknown_layer(lora, tensor, stem, layer))
        found.setdefault(layer, {})[kind] = tensor
    if not found:
        raise LoraUnusable(f"LoRA {lora}: its file has no tensors")
    return {layer: _pair(lora, layer, parts) for layer, parts in found.items()}


def reads_text(tensor: str) -> bool:
    """Whether a tensor of a LoRA belongs to a layer that reads the text."""
    return _without_prefix(tensor).startswith(CONNECTORS)


def _without_prefix(stem: str) -> str:
    for prefix in PREFIXES:
        stem = stem.removeprefix(prefix)
    return stem


def _split(lora: str, tensor: str) -> tuple[str, str]:
    for ending, kind in ENDINGS.items():
        if tensor.endswith(ending):
            return tensor.removesuffix(ending), kind
    raise LoraUnusable(
        f"LoRA {lora}: the tensor {tensor} is not one of a LoRA, whose names end in {', '.join(ENDINGS)}. Other "
        "adapters, such as DoRA and LoKr, are not supported"
    )


def _layer_of(stem: str, flat: Mapping[str, str]) -> str:
    """The layer under diffusers' name, whether the model has it or not."""
    if stem.startswith(KOHYA):
        name = stem.removeprefix(KOHYA)
        return flat.get(name, name)
    first, dot, rest = _without_prefix(stem).partition(".")
    return RENAMED.get(first, first) + dot + rest


def _flat_names(layers: Collection[str]) -> dict[str, str]:
    """Names with underscores, as kohya writes them, of Lightricks and of diffusers."""
    original = {ours: theirs for theirs, ours in RENAMED.items()}
    flat = {}
    for layer in layers:
        first, dot, rest = layer.partition(".")
        for name in (first, original.get(first, first)):
            flat[(name + dot + rest).replace(".", "_")] = layer
    return flat


def _unknown_layer(lora: str, tensor: str, stem: str, layer: str) -> str:
    about = f"LoRA {lora}: the tensor {tensor}"
    if reads_text(stem):
        return f"{about} changes how the text is read; only LoRAs of the transformer can be used"
    return f"{about} is for {layer}, which this model does not have: is it of another generation?"


def _pair(lora: str, layer: str, parts: Mapping[str, str]) -> LayerTensors:
    if DOWN not in parts or UP not in parts:
        there = ", ".join(parts.values())
        raise LoraUnusable(f"LoRA {lora}: {layer} needs a pair of tensors, and the file has only {there}")
    return LayerTensors(parts[DOWN], parts[UP], parts.get(ALPHA))
