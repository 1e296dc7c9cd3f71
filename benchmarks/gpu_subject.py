"""What benchmarks/gpu.py measures: an LTX-2 pipeline with true weights, with random ones of full size, or tiny."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from torch import nn

from models.recipes import STG_BLOCK_2_0, read_recipe
from models.tiny import SCHEDULER, TRANSFORMER, build_tiny

TINY_BLOCKS = 3
TEXT_TOKENS = 1024
SEED = 42


@dataclass(frozen=True)
class Subject:
    """A pipeline on its device, and what a call of it is given beside size and steps."""

    name: str
    pipe: Any
    device: str
    call: dict[str, Any]

    @property
    def stg_blocks(self) -> tuple[int, ...]:
        """The blocks that the STG pass perturbs."""
        return tuple(self.call["spatio_temporal_guidance_blocks"])

    def with_twin(self) -> "Subject":
        """The same with another transformer object on the same weights: speed-ups stay on the object that got them."""
        transformer = self.pipe.transformer
        with torch.device("meta"):
            twin = type(transformer).from_config(transformer.config)
        twin.load_state_dict(transformer.state_dict(), assign=True)
        pipe = LTX2Pipeline(**{**self.pipe.components, "transformer": twin.eval()})
        pipe.set_progress_bar_config(disable=True)
        return Subject(self.name, pipe, self.device, self.call)


def open_subject(model: str, device: str) -> Subject:
    """`model` is "tiny", "random" (LTX-2 (19B) in size, without its text encoder) or a folder that diffusers saved."""
    if model == "tiny":
        return _tiny(device)
    if model == "random":
        return random_subject(device, {"transformer": {"perturbed_attn": True}})
    return _stored(Path(model), device)


def _tiny(device: str) -> Subject:
    torch.manual_seed(SEED)
    transformer = LTX2VideoTransformer3DModel(**{**TRANSFORMER, "num_layers": TINY_BLOCKS}).eval()
    with tempfile.TemporaryDirectory() as folder:
        pipe = LTX2Pipeline.from_pretrained(build_tiny(Path(folder)), transformer=transformer)
    return Subject("tiny", pipe.to(device), device, {**_prompts(), **_guidance(TINY_BLOCKS - 1)})


def _stored(folder: Path, device: str) -> Subject:
    recipe = read_recipe(folder)
    transformer = LTX2VideoTransformer3DModel.from_pretrained(
        folder, subfolder="transformer", perturbed_attn=recipe.perturbed_attn, dtype=torch.bfloat16
    )
    pipe = LTX2Pipeline.from_pretrained(folder, transformer=transformer, dtype=torch.bfloat16)
    guidance = {**_guidance(*recipe.stg_blocks), "use_cross_timestep": recipe.use_cross_timestep}
    return Subject(folder.name, pipe.to(device), device, {**_prompts(), **guidance})


def random_subject(device: str, configs: Mapping[str, Mapping[str, Any]]) -> Subject:
    """Random weights made on the device; `configs` by component, what they leave out is LTX-2 (19B).

    Embeddings stand for the text: nothing is measured of Gemma.
    """
    torch.manual_seed(SEED)
    kinds = {
        "transformer": LTX2VideoTransformer3DModel,
        "connectors": LTX2TextConnectors,
        "vae": AutoencoderKLLTX2Video,
        "audio_vae": AutoencoderKLLTX2Audio,
        "vocoder": LTX2Vocoder,
    }
    components: dict[str, Any] = {name: _draw(kind, device, **configs.get(name, {})) for name, kind in kinds.items()}
    scheduler = FlowMatchEulerDiscreteScheduler(**SCHEDULER)
    pipe = LTX2Pipeline(scheduler=scheduler, text_encoder=None, tokenizer=None, **components)
    config = components["connectors"].config
    width = config.caption_channels * config.text_proj_in_factor
    embeddings = torch.randn(2, 1, TEXT_TOKENS, width, dtype=torch.bfloat16, device=device)
    mask = torch.ones(1, TEXT_TOKENS, dtype=torch.int64, device=device)
    text = {
        "prompt_embeds": embeddings[0],
        "prompt_attention_mask": mask,
        "negative_prompt_embeds": embeddings[1],
        "negative_prompt_attention_mask": mask,
    }
    stg_block = min(STG_BLOCK_2_0, components["transformer"].config.num_layers - 1)
    return Subject("random weights, LTX-2 (19B)", pipe, device, {**text, **_guidance(stg_block)})


def _draw(kind: Any, device: str, **config: Any) -> nn.Module:
    """A component with noise of variance 1 / inputs for weights, in bfloat16."""
    with torch.device("meta"):
        component = kind(**config)
    component = component.to(torch.bfloat16).to_empty(device=device).eval()
    for name, tensor in [*component.named_parameters(), *component.named_buffers()]:
        if tensor.ndim > 1:
            tensor.data.normal_(std=(1 / max(1, tensor[0].numel())) ** 0.5)
        else:
            tensor.data.fill_(0.0 if name.endswith(("bias", "mean")) else 1.0)
    return component


def _prompts() -> dict[str, Any]:
    return {"prompt": "A cat walks over a sunny meadow.", "negative_prompt": "blurry"}


def _guidance(*stg_blocks: int) -> dict[str, Any]:
    """All guidance on, as the API's defaults have it."""
    return {
        "guidance_scale": 3.0,
        "audio_guidance_scale": 7.0,
        "stg_scale": 1.0,
        "modality_scale": 3.0,
        "spatio_temporal_guidance_blocks": list(stg_blocks),
        "use_cross_timestep": False,
    }
