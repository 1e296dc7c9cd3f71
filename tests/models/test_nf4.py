"""Promise: a 4-bit text encoder has a third of the size, moves like any other, and is used only on request."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint.profile import read_profile
from models.checkpoint.sizes import measure_sizes
from models.conditions import NO_CONDITIONS
from models.errors import ModelUnavailable
from models.ltx2.load import choose_placement, load_pipeline
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory import offload, sleep_mode
from models.memory.offload_plan import (
    GB,
    OffloadMode,
    Placement,
    Sizes,
    TextEncoderDtype,
    WeightDtype,
    gpu_placements,
    plan,
)
from models.memory.sleep_mode import SleepMode
from models.memory.transfer import weights_of
from models.quantization.nf4 import Nf4Linear
from tests.models.conftest import small
from tests.models.families import FAMILIES
from tests.models.optimizations.conftest import distance
from tests.models.test_offload import streams

__all__ = ["streams"]
LTX_2_0 = Sizes(
    {
        "transformer": int(37.752 * GB),
        "text_encoder": int(24.41 * GB),
        "connectors": int(2.862 * GB),
        "vae": int(2.446 * GB),
        "audio_vae": int(0.107 * GB),
        "vocoder": int(0.111 * GB),
    },
    outside_blocks=int(0.69 * GB),
    text_matrices=int(21.5 * GB),
)
NF4 = TextEncoderDtype.NF4


def build(folder: Path, place: OffloadMode, text_weights: TextEncoderDtype = NF4) -> Ltx2Model:
    """A model in bfloat16, placed as on a GPU."""
    profile = read_profile(folder)
    pipe = load_pipeline(folder, profile, "cuda")
    placed = offload.apply(pipe, Placement(place, 0, 0, text_weights=text_weights), device="cpu")
    model = Ltx2Model("tiny", profile, pipe, placed)
    model.sleep_mode = SleepMode(pipe, placed, device="cpu")
    return model


def latents(model: Ltx2Model, **fields: object) -> Any:
    return model._denoise(small(**fields), NO_CONDITIONS, lambda _progress: None)


@pytest.fixture(scope="module", params=["tiny", "2.5"])
def folder(request: Any, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "tiny":
        return tiny_folder
    return FAMILIES[request.param].build(tmp_path_factory.mktemp("family") / "model")


def test_its_embeddings_are_near_those_of_bfloat16_and_not_them(folder: Path) -> None:
    exact, rounded = (build(folder, OffloadMode.NONE, weights) for weights in (TextEncoderDtype.BF16, NF4))
    with torch.no_grad():
        one, other = (model._text_to_video._get_gemma_prompt_embeds("a cat")[0].float() for model in (exact, rounded))
    apart = float((one - other).norm() / one.norm())
    assert 0 < apart < 0.2
    assert 0 < distance(latents(rounded), latents(exact)) < 5


def test_it_is_as_large_as_the_plan_says(folder: Path) -> None:
    text_encoder = build(folder, OffloadMode.NONE)._text_to_video.text_encoder
    layers = [layer for layer in text_encoder.modules() if isinstance(layer, Nf4Linear)]
    assert layers
    assert {name.split(".")[-1] for name, layer in text_encoder.named_modules() if isinstance(layer, Nf4Linear)} >= {
        "q_proj", "o_proj", "down_proj",
    }  # fmt: skip
    assert not any(isinstance(layer, torch.nn.Linear) for layer in text_encoder.model.language_model.layers.modules())
    sizes = measure_sizes(folder)
    whole, stored = sizes.weights["text_encoder"], sizes.stored(WeightDtype.BF16, NF4).weights["text_encoder"]
    matrices = sum(layer._shape.numel() for layer in layers) * 2
    assert sizes.text_matrices == matrices
    assert stored == whole - matrices * 23 // 32
    codes = sum(layer.code.nbytes for layer in layers)
    held = sum(tensor.nbytes for layer in layers for tensor in (layer.packed, layer.scales))
    assert held == pytest.approx(matrices * 9 / 32, rel=0.02)
    assert codes == 64 * len(layers)


@pytest.mark.parametrize("place", [OffloadMode.TEXT_ENCODER, OffloadMode.BLOCK])
@pytest.mark.parametrize("streamed", [False, True], ids=["hooks", "streams"])
def test_it_passes_through_a_small_card(
    tiny_folder: Path, place: OffloadMode, streamed: bool, request: pytest.FixtureRequest
) -> None:
    reference = latents(build(tiny_folder, OffloadMode.NONE))
    if streamed:
        request.getfixturevalue("streams")
    model = build(tiny_folder, place)
    for _ in range(2):
        assert distance(latents(model), reference) == 0
        model.prompt_cache._texts.clear()


def test_it_sleeps_and_wakes(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleep_mode, "free_host_bytes", lambda: 64 * GB)
    monkeypatch.setattr(sleep_mode, "all_host_bytes", lambda: 64 * GB)
    model = build(tiny_folder, OffloadMode.NONE)
    before = latents(model)
    asleep = {id(weight) for weight in model.sleep_mode._weights}
    assert {id(weight) for weight in weights_of([model._text_to_video.text_encoder])} <= asleep
    assert model.sleep(lambda: False)
    model.wake()
    model.prompt_cache._texts.clear()
    assert distance(latents(model), before) == 0


def test_the_prompt_cache_keeps_what_it_makes(tiny_folder: Path) -> None:
    model = build(tiny_folder, OffloadMode.NONE)
    before = latents(model)
    assert model.prompt_cache.size_bytes > 0
    assert distance(latents(model), before) == 0


def test_without_its_package_the_error_names_the_extra(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    options = LoadOptions(text_encoder_dtype=NF4)
    with pytest.raises(ModelUnavailable, match=r"text_encoder_dtype: nf4 needs .* '\.\[server,nf4\]'"):
        choose_placement(tiny_folder, read_profile(tiny_folder), "cuda", options)


def test_the_operator_asks_for_it_and_the_log_says_so() -> None:
    assert plan(80 * GB, 128 * GB, LTX_2_0).text_weights is TextEncoderDtype.BF16
    placed = plan(80 * GB, 128 * GB, LTX_2_0, text_weights=NF4)
    (line,) = [line for line in placed.table().splitlines() if line.startswith("text_encoder")]
    assert line.split()[1] == "nf4"


@pytest.mark.parametrize(
    ("card_gb", "weights", "place"),
    [
        (64, WeightDtype.BF16, OffloadMode.NONE),
        (48, WeightDtype.FP8, OffloadMode.NONE),
        (32, WeightDtype.FP8, OffloadMode.ALL_BUT_TRANSFORMER),
        (24, WeightDtype.BF16, OffloadMode.BLOCK),
    ],
)
def test_what_it_opens(card_gb: int, weights: WeightDtype, place: OffloadMode) -> None:
    placed = plan(card_gb * GB, 128 * GB, LTX_2_0, weights=weights, text_weights=NF4)
    assert placed.mode is place
    text = {row.component: row.size_bytes for row in placed.rows}["text_encoder"]
    assert 8.9 * GB < text < 9.0 * GB
    (blocks,) = [each for each in gpu_placements(LTX_2_0, text_weights=NF4) if each.mode is OffloadMode.BLOCK]
    assert blocks.host_bytes == pytest.approx((37.752 - 0.69 + 4) * GB + text, abs=100)
