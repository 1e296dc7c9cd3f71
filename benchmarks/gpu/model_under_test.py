"""The models that benchmarks.gpu measures: LTX-2 with real weights, with random ones of full size, or tiny.

`Subject` is a plain diffusers pipeline, for the time of a step. `open_model` returns the server's model, for whole
tasks.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2Pipeline, LTX2VideoTransformer3DModel
from torch import nn

from benchmarks.full_size import (
    FULL_SIZE,
    GEMMA_3_12B,
    SEED,
    Configs,
    draw_components,
    draw_text_encoder,
    pipeline,
)
from benchmarks.memory_leak import ignore
from models.checkpoint.profile import Family, choose_profile, read_profile
from models.checkpoint.sizes import in_4_bits, measure_sizes
from models.checkpoint.tiny import TRANSFORMER, build_tiny
from models.ltx2.load import choose_optimizations, measure_free_vram
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory import offload
from models.memory.gpu import collect_and_empty_cache
from models.memory.offload_plan import OffloadMode, Placement, Sizes
from models.memory.transfer import weights_of

TINY = "tiny"
RANDOM = "random"
TINY_BLOCKS = 3
TEXT_TOKENS = 1024


@dataclass(frozen=True)
class Source:
    """`model` is "tiny", "random" (of `family`, in full size) or a folder that diffusers saved."""

    model: str
    family: Family = Family.LTX_2_0
    configs: Configs | None = None
    """Replaces the family's own configs, for tests that need small ones."""

    @property
    def drawn(self) -> Configs:
        """The configs for random weights."""
        return self.configs or FULL_SIZE[self.family]


@dataclass(frozen=True)
class Subject:
    """A pipeline on its device, and the arguments of a call except size and steps."""

    name: str
    pipe: Any
    device: str
    call: dict[str, Any]

    @property
    def stg_blocks(self) -> tuple[int, ...]:
        """The blocks that the STG pass perturbs."""
        return tuple(self.call["spatio_temporal_guidance_blocks"])

    def with_twin(self) -> "Subject":
        """A copy with another transformer object on the same weights, because optimizations cannot be uninstalled."""
        transformer = self.pipe.transformer
        with torch.device("meta"):
            twin = type(transformer).from_config(transformer.config)
        twin.load_state_dict(transformer.state_dict(), assign=True)
        pipe = LTX2Pipeline(**{**self.pipe.components, "transformer": twin.eval()})
        pipe.set_progress_bar_config(disable=True)
        return Subject(self.name, pipe, self.device, self.call)


def open_subject(source: Source, device: str) -> Subject:
    """A plain diffusers pipeline of `source` on `device`. With random weights it has no text encoder."""
    torch.manual_seed(SEED)
    opened = {TINY: _tiny, RANDOM: _random}.get(source.model, _stored)(source, device)
    opened.pipe.set_progress_bar_config(disable=True)
    return opened


def _tiny(_source: Source, device: str) -> Subject:
    transformer = LTX2VideoTransformer3DModel(**{**TRANSFORMER, "num_layers": TINY_BLOCKS}).eval()
    with tempfile.TemporaryDirectory() as folder:
        pipe = LTX2Pipeline.from_pretrained(build_tiny(Path(folder)), transformer=transformer)
    return Subject("tiny", pipe.to(device), device, {**prompts(), **_guidance(TINY_BLOCKS - 1)})


def _stored(source: Source, device: str) -> Subject:
    folder = Path(source.model)
    profile = read_profile(folder)
    transformer = LTX2VideoTransformer3DModel.from_pretrained(
        folder, subfolder="transformer", perturbed_attn=profile.perturbed_attn, dtype=torch.bfloat16
    )
    pipe = LTX2Pipeline.from_pretrained(folder, transformer=transformer, dtype=torch.bfloat16)
    guidance = {**_guidance(*profile.stg_blocks), "use_cross_timestep": profile.use_cross_timestep}
    return Subject(folder.name, pipe.to(device), device, {**prompts(), **guidance})


def _random(source: Source, device: str) -> Subject:
    """Random embeddings replace the text, so that the GPU memory is free for the measurement."""
    pipe = pipeline(draw_components(source.drawn, device))
    config = pipe.connectors.config
    width = config.caption_channels * config.text_proj_in_factor
    embeddings = torch.randn(2, 1, TEXT_TOKENS, width, dtype=torch.bfloat16, device=device)
    mask = torch.ones(1, TEXT_TOKENS, dtype=torch.int64, device=device)
    text = {
        "prompt_embeds": embeddings[0],
        "prompt_attention_mask": mask,
        "negative_prompt_embeds": embeddings[1],
        "negative_prompt_attention_mask": mask,
    }
    profile = choose_profile(pipe.transformer.config)
    guidance = {**_guidance(*profile.stg_blocks), "use_cross_timestep": profile.use_cross_timestep}
    return Subject(random_name(source), pipe, device, {**text, **guidance})


def random_name(source: Source) -> str:
    """The name of random weights in the results."""
    return f"random weights, LTX-{source.family}"


def prompts() -> dict[str, Any]:
    """The prompts of the benchmark."""
    return {"prompt": "A cat walks over a sunny meadow.", "negative_prompt": "blurry"}


def _guidance(*stg_blocks: int) -> dict[str, Any]:
    """All guidance on, with the API's defaults."""
    return {
        "guidance_scale": 3.0,
        "audio_guidance_scale": 7.0,
        "stg_scale": 1.0,
        "modality_scale": 3.0,
        "spatio_temporal_guidance_blocks": list(stg_blocks),
        "use_cross_timestep": False,
    }


def held_sizes(source: Source) -> Sizes:
    """The sizes of the components of `source`. Random ones are not created for it."""
    if source.model != RANDOM:
        with tempfile.TemporaryDirectory() as folder:
            return measure_sizes(build_tiny(Path(folder)) if source.model == TINY else Path(source.model))
    parts = {**draw_components(source.drawn, "meta", fill=False), "text_encoder": _text_encoder(source, "meta")}
    weights = {name: sum(weight.nbytes for weight in weights_of([part])) for name, part in parts.items()}
    transformer = parts["transformer"]
    in_blocks = sum(weight.nbytes for weight in weights_of([transformer.transformer_blocks]))
    matrices = (
        parameter.nbytes
        for name, parameter in parts["text_encoder"].named_parameters()
        if in_4_bits(name, parameter.ndim)
    )
    return Sizes(
        weights,
        transformer.config.num_layers,
        outside_blocks=weights["transformer"] - in_blocks,
        text_matrices=sum(matrices),
    )


def open_model(
    source: Source, device: str, placed: Placement, options: LoadOptions, cap: Callable[[], None] = lambda: None
) -> Ltx2Model:
    """The server's model of `source`, with placement `placed`. `cap` is called before any weight is on the GPU."""
    if source.model != RANDOM:
        cap()
        folder = Path("data/cache")
        return Ltx2Model.load(source.model, device, folder, ignore, replace(options, offload=_asked(placed)))
    components = draw_components(source.drawn, device, held="cpu")
    text_encoder = _text_encoder(source, device).to("cpu")
    collect_and_empty_cache()
    cap()
    pipe = pipeline(components, text_encoder)
    placed = offload.apply(pipe, placed, device)
    model = Ltx2Model(random_name(source), choose_profile(pipe.transformer.config), pipe, placed, options)
    model.apply_optimizations(choose_optimizations(placed, device, options))
    model.free_vram_bytes = measure_free_vram(placed, model.optimizations)
    return model


def _text_encoder(source: Source, device: str) -> nn.Module:
    config = source.drawn.get("text_encoder", GEMMA_3_12B)
    return draw_text_encoder(device, config, fill=device != "meta")


def _asked(placed: Placement) -> OffloadMode | None:
    return None if placed.mode is OffloadMode.CPU else placed.mode
