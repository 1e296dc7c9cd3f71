"""A transformer with more blocks than the tiny model, and connectors without layers, so that there is work to skip."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from models.checkpoint.profile import CheckpointProfile, Family
from models.checkpoint.sizes import measure_sizes
from models.checkpoint.tiny import CONNECTORS, TRANSFORMER
from models.conditions import first_frame
from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.memory.offload_plan import plan_cpu
from tests.models.conftest import ignore, small

BLOCKS = 4
STG_BLOCK = 2
REGISTERS = 4
PLAIN_CONNECTORS = {
    f"{modality}_connector_{name}": value
    for modality in ("video", "audio")
    for name, value in (("num_layers", 0), ("num_learnable_registers", REGISTERS))
}
PLAIN = CheckpointProfile(Family.LTX_2_0, stg_blocks=(STG_BLOCK,), use_cross_timestep=False, tiny=True)

Build = Callable[..., Ltx2Model]


@pytest.fixture(scope="session")
def build(tiny_folder: Path) -> Build:
    """A function that builds an LTX-2 with four blocks of random weights. Its arguments change the transformer's
    config.
    """

    def make(**config: Any) -> Ltx2Model:
        from diffusers import LTX2Pipeline, LTX2VideoTransformer3DModel
        from diffusers.pipelines.ltx2 import LTX2TextConnectors

        with torch.random.fork_rng():
            torch.manual_seed(3)
            transformer = LTX2VideoTransformer3DModel(**{**TRANSFORMER, "num_layers": BLOCKS, **config}).eval()
            connectors = LTX2TextConnectors(**{**CONNECTORS, **PLAIN_CONNECTORS}).eval()
        pipe = LTX2Pipeline.from_pretrained(tiny_folder, transformer=transformer, connectors=connectors)
        return Ltx2Model("four blocks", PLAIN, pipe, plan_cpu(2**62, measure_sizes(tiny_folder)))

    return make


def transformer_of(model: Ltx2Model) -> Any:
    return model._text_to_video.transformer


def denoise(model: Ltx2Model, image: Image.Image | None = None, **fields: object) -> Latents:
    """Latents of the small request: the transformer's result, before decoding rounds it to bytes."""
    return model._denoise(small(num_inference_steps=3, **fields), first_frame(image), ignore)


def distance(one: Latents, other: Latents) -> float:
    """The largest difference between two results, in video or audio."""
    return max(
        float((one.video - other.video).abs().max()),
        float((one.audio - other.audio).abs().max()),
    )


@contextmanager
def counting(module: torch.nn.Module) -> Iterator[list[int]]:
    """Collect the number of rows (the first dimension) of each call of a module."""
    rows: list[int] = []

    def count(_module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        rows.append(len(args[0] if args else kwargs["hidden_states"]))

    handle = module.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()
