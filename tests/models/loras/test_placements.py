"""Promise: LoRAs work wherever the model is kept, and their memory is in the plan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2Pipeline

from models.checkpoint.sizes import measure_sizes
from models.conditions import NO_CONDITIONS
from models.lora.lora_linear import LoraLinear
from models.lora.weights import LayerPair, LoraWeights
from models.ltx2.denoise import Latents
from models.ltx2.load import measure_free_vram
from models.ltx2.model import Ltx2Model
from models.memory import offload
from models.memory.offload_plan import GB, OffloadMode, Placement, Sizes, WeightDtype, gpu_placements, plan_cpu
from models.optimizations.compiled import compile_blocks
from models.optimizations.fast.fp8 import Fp8Linears
from models.quantization.fp8 import Fp8Linear
from models.request.loras import LoraChoice
from tests.models.conftest import ignore, small
from tests.models.loras.conftest import RANK, Pairs, draw_pairs, merge, picked, same, transformer_of
from tests.models.optimizations.conftest import PLAIN, Build, build, distance
from tests.models.test_offload import streams

__all__ = ["build", "streams"]
ROUNDING = 5e-5
LAYERS = (
    *("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_out.0", "transformer_blocks.0.attn2.to_k"),
    *("transformer_blocks.0.ff.net.0.proj", "proj_in", "time_embed.linear"),
)


def weights_of(pairs: Pairs) -> LoraWeights:
    return {name: LayerPair(down, up, 1.0) for name, (down, up) in pairs.items()}


def placed(folder: Path, place: OffloadMode, weights: WeightDtype = WeightDtype.BF16) -> tuple[Ltx2Model, Pairs]:
    """The tiny model with a LoRA, placed as on a GPU; the CPU replaces the GPU."""
    pipe = LTX2Pipeline.from_pretrained(folder)
    pairs = draw_pairs(pipe.transformer, layers=LAYERS)
    placement = offload.apply(pipe, Placement(place, 0, 0, weights=weights), device="cpu")
    return Ltx2Model("placed", PLAIN, pipe, placement, loras={"one": weights_of(pairs)}), pairs


def denoise(model: Ltx2Model, *choices: LoraChoice) -> Latents:
    return model._denoise(small(loras=choices), NO_CONDITIONS, ignore)


@pytest.fixture(scope="module")
def expected(tiny_folder: Path) -> tuple[Latents, Latents]:
    """The results without and with the LoRA, of a model that has it in its weights."""
    pipe = LTX2Pipeline.from_pretrained(tiny_folder)
    model = Ltx2Model("merged", PLAIN, pipe, plan_cpu(2**62, measure_sizes(tiny_folder)))
    plain = denoise(model)
    merge(pipe.transformer, draw_pairs(pipe.transformer, layers=LAYERS))
    return plain, denoise(model)


@pytest.mark.parametrize("place", [OffloadMode.NONE, OffloadMode.ALL_BUT_TRANSFORMER, OffloadMode.BLOCK])
def test_every_placement_renders_the_same(
    tiny_folder: Path, streams: None, expected: tuple[Latents, Latents], place: OffloadMode
) -> None:
    """Also where blocks are streamed with their own weights only: diffusers knows nothing of later ones."""
    model, _ = placed(tiny_folder, place)
    plain, changed = expected
    for _ in range(2):
        assert distance(denoise(model, *picked(one=1.0)), changed) <= ROUNDING
        assert same(denoise(model), plain)


def test_weights_in_float8_keep_their_loras_whole(tiny_folder: Path) -> None:
    """The layers that are stored in float8 are other objects than those that were loaded."""
    model, pairs = placed(tiny_folder, OffloadMode.CPU, WeightDtype.FP8)
    layer = transformer_of(model).get_submodule(LAYERS[0])
    assert isinstance(layer, Fp8Linear)
    states = torch.randn(5, layer.in_features)
    down, up = pairs[LAYERS[0]]
    plain = layer(states)
    with model.loras.applied(picked(one=0.5)):
        changed = transformer_of(model).get_submodule(LAYERS[0])(states)
    torch.testing.assert_close(changed, plain + 0.5 * states @ down.t() @ up.t())
    assert same(denoise(model), denoise(model))
    assert not same(denoise(model), denoise(model, *picked(one=1.0)))


@torch.no_grad()
def test_products_in_float8_are_those_of_the_layer_and_not_of_its_loras(tiny_folder: Path) -> None:
    """Whichever of the two begins first."""
    model, _ = placed(tiny_folder, OffloadMode.NONE)
    transformer = transformer_of(model)
    states = torch.randn(16, 16)
    layer = transformer.get_submodule(LAYERS[0])
    with Fp8Linears(transformer, min_weights=1).on():
        rounded = layer(states)
        with model.loras.applied(picked(one=1.0)):
            inside = transformer.get_submodule(LAYERS[0])(states)
    with model.loras.applied(picked(one=1.0)), Fp8Linears(transformer, min_weights=1).on():
        outside = transformer.get_submodule(LAYERS[0])(states)
    assert not torch.equal(rounded, layer(states))
    assert torch.equal(inside, outside)
    down, up = draw_pairs(transformer, layers=LAYERS)[LAYERS[0]]
    torch.testing.assert_close(inside, rounded + states @ down.t() @ up.t())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own modules, when its compiler is imported
def test_compiled_blocks_take_loras_and_are_not_compiled_again_for_each_request(build: Build) -> None:
    from torch._dynamo.utils import counters

    model, plain = build(), build()
    transformer = transformer_of(model)
    inside = [f"transformer_blocks.{block}.{name}" for block in range(4) for name in ("attn1.to_q", "ff.net.2")]
    loras = {name: draw_pairs(transformer, seed, layers=inside) for name, seed in (("one", 1), ("two", 2))}
    for each in (model, plain):
        each.loras = type(each.loras)(transformer_of(each), {name: weights_of(pairs) for name, pairs in loras.items()})
    compile_blocks(transformer, backend="aot_eager")
    denoise(model)
    for choices in (picked(one=1.0), (), picked(two=0.5)):
        assert distance(denoise(model, *choices), denoise(plain, *choices)) <= ROUNDING
    compiled = counters["stats"]["unique_graphs"]
    for choices in (picked(two=1.0), picked(one=0.3), ()):
        assert distance(denoise(model, *choices), denoise(plain, *choices)) <= ROUNDING
    assert counters["stats"]["unique_graphs"] == compiled


def test_a_layer_takes_inputs_of_any_shape() -> None:
    layer = torch.nn.Linear(8, 6).requires_grad_(False)
    down, up = torch.randn(RANK, 8), torch.randn(6, RANK)
    wrapped = LoraLinear(layer, down, up)
    for shape in ((8,), (5, 8), (2, 5, 8), (2, 3, 5, 8)):
        states = torch.randn(shape)
        torch.testing.assert_close(wrapped(states), layer(states) + states @ down.t() @ up.t())


MODEL = Sizes({"transformer": 38 * GB, "text_encoder": 24 * GB, "vae": 2 * GB})
LORAS: Mapping[str, int] = {f"lora_{size}": size * GB for size in range(1, 7)}


def test_the_plan_counts_all_loras_in_host_memory_and_the_four_largest_on_the_gpu() -> None:
    with_loras = Sizes(MODEL.weights, loras=LORAS)
    for plain, counted in zip(gpu_placements(MODEL), gpu_placements(with_loras), strict=True):
        assert counted.host_bytes - plain.host_bytes == 21 * GB
        assert counted.gpu_bytes - plain.gpu_bytes == counted.lora_bytes == (6 + 5 + 4 + 3) * GB
        assert "6 LoRAs" in counted.table()
        assert "LoRA" not in plain.table()
    assert plan_cpu(2**62, with_loras).host_bytes - plan_cpu(2**62, MODEL).host_bytes == (21 + 18) * GB


def test_the_free_memory_of_a_render_is_what_its_loras_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "free_vram_bytes", lambda: 30 * GB)
    placement = Placement(OffloadMode.NONE, 0, 0, lora_bytes=4 * GB)
    assert measure_free_vram(placement, ()) == 26 * GB


def test_the_load_measures_the_loras(cache_dir: Path, tiny_folder: Path, tmp_path: Path) -> None:
    from models.lora.source import LoraSource
    from models.ltx2.options import LoadOptions
    from tests.models.loras.conftest import by_lightricks, save

    pipe: Any = LTX2Pipeline.from_pretrained(tiny_folder)
    file = save(by_lightricks(draw_pairs(pipe.transformer, layers=LAYERS)), tmp_path / "one.safetensors")
    model = Ltx2Model.load("tiny", "cpu", cache_dir, ignore, LoadOptions(loras=(LoraSource("one", file),)))
    (row,) = [row for row in model.placement.rows if "LoRA" in row.component]
    assert row.size_bytes == sum(
        each.nbytes for pair in draw_pairs(pipe.transformer, layers=LAYERS).values() for each in pair
    )
    assert model.loras.names == ("one",)
