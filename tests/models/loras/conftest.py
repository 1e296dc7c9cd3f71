"""Tiny random LoRAs, in files of each layout."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.request.loras import LoraChoice

RANK = 3
IN_BLOCK = ("attn1.to_q", "attn1.to_v", "attn1.to_out.0", "attn2.to_k", "ff.net.0.proj", "audio_to_video_attn.to_q")
OUTSIDE = {"proj_in": "patchify_proj", "time_embed.linear": "adaln_single.linear", "proj_out": "proj_out"}
"""Layers outside the blocks, and their names by Lightricks."""
LAYERS = (*(f"transformer_blocks.{block}.{layer}" for block in range(2) for layer in IN_BLOCK), *OUTSIDE)

Pairs = Mapping[str, tuple[Tensor, Tensor]]
"""`down` and `up` of each layer."""


def draw_pairs(transformer: nn.Module, seed: int = 1, rank: int = RANK, layers: Sequence[str] = LAYERS) -> Pairs:
    """Random pairs, large enough to change every result."""
    noise = torch.Generator().manual_seed(seed)
    pairs = {}
    for name in layers:
        layer: Any = transformer.get_submodule(name)
        down = torch.randn(rank, layer.in_features, generator=noise) * 0.3
        pairs[name] = down, torch.randn(layer.out_features, rank, generator=noise) * 0.3
    return pairs


def by_diffusers(pairs: Pairs) -> dict[str, Tensor]:
    return _named(pairs, "transformer.", ".lora_A.weight", ".lora_B.weight")


def by_lightricks(pairs: Pairs) -> dict[str, Tensor]:
    named = {OUTSIDE.get(layer, layer): pair for layer, pair in pairs.items()}
    return _named(named, "diffusion_model.", ".lora_A.weight", ".lora_B.weight")


def by_comfyui(pairs: Pairs, alpha: float = RANK) -> dict[str, Tensor]:
    named = {OUTSIDE.get(layer, layer): pair for layer, pair in pairs.items()}
    alphas = {f"diffusion_model.{layer}.alpha": torch.tensor(alpha) for layer in named}
    return _named(named, "diffusion_model.", ".lora_down.weight", ".lora_up.weight") | alphas


def by_kohya(pairs: Pairs, alpha: float = RANK) -> dict[str, Tensor]:
    named = {OUTSIDE.get(layer, layer).replace(".", "_"): pair for layer, pair in pairs.items()}
    alphas = {f"lora_unet_{layer}.alpha": torch.tensor(alpha) for layer in named}
    return _named(named, "lora_unet_", ".lora_down.weight", ".lora_up.weight") | alphas


LAYOUTS: Mapping[str, Callable[[Pairs], dict[str, Tensor]]] = {
    "diffusers": by_diffusers,
    "Lightricks": by_lightricks,
    "ComfyUI": by_comfyui,
    "kohya": by_kohya,
}


def _named(pairs: Pairs, prefix: str, down_ending: str, up_ending: str) -> dict[str, Tensor]:
    downs = {f"{prefix}{layer}{down_ending}": down for layer, (down, _) in pairs.items()}
    return downs | {f"{prefix}{layer}{up_ending}": up for layer, (_, up) in pairs.items()}


def merge(transformer: nn.Module, pairs: Pairs, scale: float = 1.0) -> None:
    """Add a LoRA to the weights, permanently: what it means."""
    for name, (down, up) in pairs.items():
        layer: Any = transformer.get_submodule(name)
        layer.weight.data += scale * up @ down


def save(tensors: Mapping[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file(dict(tensors), file, metadata)
    return file


def picked(**scales: float) -> tuple[LoraChoice, ...]:
    return tuple(LoraChoice(name=name, scale=scale) for name, scale in scales.items())


def same(one: Latents, other: Latents) -> bool:
    return torch.equal(one.video, other.video) and torch.equal(one.audio, other.audio)


def transformer_of(model: Ltx2Model) -> LTX2VideoTransformer3DModel:
    return model._text_to_video.transformer


@pytest.fixture(scope="session")
def tiny_transformer(tiny_folder: Path) -> Any:
    return LTX2VideoTransformer3DModel.from_pretrained(tiny_folder, subfolder="transformer")
