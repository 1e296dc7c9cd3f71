"""Promise: fp8 quantizes only the blocks' attention and feed-forward weights, with a scale per row."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import nn

from models.checkpoint.profile import read_profile
from models.checkpoint.sizes import measure_sizes
from models.ltx2.load import load_pipeline
from models.memory.offload import apply, resident_weights
from models.memory.offload_plan import OffloadMode, Placement, WeightDtype
from models.quantization.fp8 import FLOAT8, Fp8Linear, round_rows, round_weights
from tests.models.families import TRANSFORMER_2_0, TRANSFORMER_2_3, build_2_3
from tests.models.fixes.test_cross_timesteps import call_of

CPU = torch.device("cpu")
LAYERS = {"to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "audio_ff.net.0.proj", "ff.net.2", "audio_ff.net.2"}


def transformer_of(config: dict[str, Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return LTX2VideoTransformer3DModel(**{**config, "perturbed_attn": True}).to(torch.bfloat16).eval()


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


@pytest.mark.parametrize("config", [TRANSFORMER_2_0, TRANSFORMER_2_3], ids=["2.0", "2.3"])
def test_only_attention_and_feed_forward_weights_of_the_blocks_are_float8(config: dict[str, Any]) -> None:
    transformer = transformer_of(config)
    before = {name: tensor.dtype for name, tensor in transformer.state_dict().items()}
    round_weights(transformer, CPU, back=False)
    after = {name: tensor.dtype for name, tensor in transformer.state_dict().items()}
    rounded = {name.removesuffix(".weight") for name, dtype in after.items() if dtype is FLOAT8}
    assert {before[f"{name}.weight"] for name in rounded} == {torch.bfloat16}
    for name in rounded:
        _, _, inner = name.split(".", 2)
        assert name.startswith("transformer_blocks.")
        assert inner in LAYERS or inner.partition(".")[2] in LAYERS
    blocks = len(transformer.transformer_blocks)
    assert len(rounded) == blocks * (6 * 4 + 4)
    kept = {name: dtype for name, dtype in after.items() if dtype is not FLOAT8 and not name.endswith("weight_scale")}
    assert kept == {name: dtype for name, dtype in before.items() if name.removesuffix(".weight") not in rounded}


@pytest.mark.parametrize("deviation", [1e-4, 0.005, 0.02, 1.0])
def test_a_weight_is_nearer_than_unscaled_float8_at_every_size(deviation: float) -> None:
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(1)).mul(deviation).bfloat16()
    rows, scale = round_rows(weight)
    scaled = relative(rows.bfloat16() * scale, weight)
    unscaled = relative(weight.to(FLOAT8), weight)
    assert scaled < 0.03
    assert scaled <= unscaled * 1.05
    if deviation < 0.01:
        assert unscaled > 3 * scaled
    assert int((rows.float() == 0).sum()) <= int((weight == 0).sum()) + weight.numel() // 200


def test_float8_times_its_scale_is_exact_in_bfloat16() -> None:
    rows, scale = round_rows(torch.randn(32, 64, generator=torch.Generator().manual_seed(2)) * 1e-3)
    assert torch.equal((rows.bfloat16() * scale).float(), rows.float() * scale.float())
    mantissa, _ = scale.float().frexp()
    assert set(mantissa.flatten().tolist()) == {0.5}
    assert bool((rows.float().abs().amax(dim=1) > 224).all())


def test_rows_of_zeros_and_of_the_largest_and_smallest_numbers_stay_numbers() -> None:
    weight = torch.tensor([[0.0, 0.0], [3e38, -1e38], [1e-30, 5e-31], [448.0, 449.0], [1e-38, 0.0]])
    rows, scale = round_rows(weight)
    back = rows.float() * scale.float()
    assert bool(back.isfinite().all())
    assert bool(((back - weight).abs() <= 0.0625 * weight.abs().clamp(min=1e-37)).all())


@torch.no_grad()
def test_a_layer_multiplies_by_what_its_rows_stand_for() -> None:
    layer = nn.Linear(64, 48).to(torch.bfloat16)
    rounded = Fp8Linear.of(layer)
    states = torch.randn(3, 5, 64, dtype=torch.bfloat16)
    layer.weight.copy_(rounded.weight.bfloat16() * rounded.weight_scale)
    assert torch.equal(rounded(states), layer(states))
    assert rounded.bias is layer.bias


@torch.no_grad()
def test_a_prediction_is_nearer_than_with_unscaled_float8_everywhere() -> None:
    exact, scaled, unscaled = (transformer_of(TRANSFORMER_2_3) for _ in range(3))
    round_weights(scaled, CPU, back=False)
    unscaled.enable_layerwise_casting(storage_dtype=FLOAT8, compute_dtype=torch.bfloat16)
    call = {
        name: value.bfloat16() if torch.is_tensor(value) and value.ndim == 3 else value
        for name, value in call_of(exact, 2).items()
    }
    expected = exact(**call)
    distances = [
        sum(relative(*pair) for pair in zip(each(**call), expected, strict=True)) for each in (scaled, unscaled)
    ]
    assert 0 < distances[0] < distances[1]


@pytest.mark.parametrize("place", [OffloadMode.NONE, OffloadMode.ALL_BUT_TRANSFORMER, OffloadMode.BLOCK])
def test_sizes_are_what_is_stored_and_every_weight_has_one_place(place: OffloadMode, tmp_path: Path) -> None:
    folder = build_2_3(tmp_path / "model")
    pipe = load_pipeline(folder, read_profile(folder), "cuda")
    placed = Placement(place, 0, 0, weights=WeightDtype.FP8)
    apply(pipe, placed, device="cpu")
    stored = sum(tensor.nbytes for tensor in pipe.transformer.state_dict().values())
    assert measure_sizes(folder).stored(WeightDtype.FP8).weights["transformer"] == stored
    float8 = [weight for weight in resident_weights(pipe, placed) if weight.dtype is FLOAT8]
    assert bool(float8) == (place is not OffloadMode.BLOCK)
