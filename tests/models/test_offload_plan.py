import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint.profile import BLOCKS_OF_LTX2
from models.conditions import GivenTokens
from models.errors import ModelUnavailable
from models.ltx2.load import choose_optimizations, measure_free_vram
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory import offload
from models.memory.estimate import check_fits
from models.memory.offload import apply
from models.memory.offload_plan import (
    GB,
    OFFLOADED_COMPONENTS,
    RESERVED_VRAM_BYTES,
    OffloadMode,
    Placement,
    Sizes,
    WeightDtype,
    plan,
    plan_cpu,
)
from models.optimizations.selection import OFF
from models.request.request import RequestLimits, VideoRequest
from tests.models.conftest import ignore
from tests.models.optimizations.conftest import denoise, distance


def sizes_of(connectors_gb: float, transformer_gb: float, vae_gb: float, vocoder_gb: float) -> Sizes:
    in_gb = {
        "transformer": transformer_gb, "text_encoder": 24.4, "connectors": connectors_gb,
        "vae": vae_gb, "audio_vae": 0.1, "vocoder": vocoder_gb,
    }  # fmt: skip
    return Sizes({name: int(size * GB) for name, size in in_gb.items()})


LTX_2_0 = replace(sizes_of(2.9, 37.8, 2.45, 0.1), outside_blocks=int(0.69 * GB))
LTX_2_3 = replace(sizes_of(6.3, 38.0, 1.45, 0.5), outside_blocks=int(0.85 * GB))
PLENTY = 128 * GB
CONTEXT_BYTES = GB // 2


@pytest.mark.parametrize("sizes", [LTX_2_0, LTX_2_3])
@pytest.mark.parametrize(
    ("card_gb", "place"),
    [
        (80, OffloadMode.NONE),
        (64, OffloadMode.TEXT_ENCODER),
        (48, OffloadMode.ALL_BUT_TRANSFORMER),
        (24, OffloadMode.BLOCK),
        (16, OffloadMode.BLOCK),
    ],
)
def test_a_card_gets_the_fastest_placement_that_fits(card_gb: int, place: OffloadMode, sizes: Sizes) -> None:
    assert plan(card_gb * GB, PLENTY, sizes).mode is place


def test_a_card_of_8_gb_is_told_what_is_needed_and_what_is_there() -> None:
    with pytest.raises(ModelUnavailable) as error:
        plan(8 * GB, PLENTY, LTX_2_0)
    assert "8.0 GB is free on the GPU" in error.value.message
    assert "block: 11.4 GB on the GPU and 41.1 GB in host memory" in error.value.message


def test_offloading_needs_host_memory_and_says_so() -> None:
    with pytest.raises(ModelUnavailable, match=r"32\.0 GB in host memory"):
        plan(24 * GB, 32 * GB, LTX_2_0)


def test_a_resident_model_needs_little_host_memory() -> None:
    assert plan(80 * GB, 16 * GB, LTX_2_0).mode is OffloadMode.NONE


@pytest.mark.parametrize("card_gb", range(8, 97, 4))
def test_no_placement_takes_more_than_is_free(card_gb: int) -> None:
    try:
        placement = plan(card_gb * GB, PLENTY, LTX_2_3)
    except ModelUnavailable:
        assert card_gb <= 10
    else:
        assert placement.gpu_bytes <= card_gb * GB
        assert placement.host_bytes <= PLENTY


def test_a_processor_holds_the_model_or_says_why_not() -> None:
    assert plan_cpu(PLENTY, LTX_2_0).mode is OffloadMode.CPU
    with pytest.raises(ModelUnavailable, match=r"needs 67\.8 GB .* and 16\.0 GB is free"):
        plan_cpu(16 * GB, LTX_2_0)


@pytest.mark.parametrize(
    ("card_gb", "place"),
    [(48, OffloadMode.TEXT_ENCODER), (32, OffloadMode.ALL_BUT_TRANSFORMER), (16, OffloadMode.BLOCK)],
)
def test_fp8_weights_leave_more_on_the_card_and_are_never_chosen_by_themselves(
    card_gb: int, place: OffloadMode
) -> None:
    chosen = plan(card_gb * GB, PLENTY, LTX_2_0, weights=WeightDtype.FP8)
    assert (chosen.mode, chosen.weights) == (place, WeightDtype.FP8)
    assert plan(card_gb * GB, PLENTY, LTX_2_0).weights is WeightDtype.BF16


def test_weights_that_are_rounded_on_the_gpu_need_no_host_memory_for_it() -> None:
    assert plan(64 * GB, PLENTY, LTX_2_0, weights=WeightDtype.FP8).host_bytes == 4 * GB


def test_fp8_takes_what_the_files_say_of_the_weights_that_it_rounds() -> None:
    told = replace(LTX_2_0, fp8_bytes=20 * GB)
    assert told.stored(WeightDtype.FP8).weights["transformer"] == 20 * GB
    assert told.stored(WeightDtype.BF16) is told


def test_the_table_says_what_is_float32() -> None:
    lines = plan(48 * GB, PLENTY, replace(LTX_2_3, float32=frozenset({"vocoder"}))).table().splitlines()
    dtypes = dict(line.split()[:2] for line in lines[1:-1])
    assert dtypes == {**dict.fromkeys(LTX_2_3.weights, "bfloat16"), "vocoder": "float32"}


def test_weights_that_are_stored_as_other_numbers_are_made_anew_in_host_memory() -> None:
    in_float32 = replace(LTX_2_0, converted={"transformer": 38 * GB, "text_encoder": 24 * GB})
    assert plan(80 * GB, PLENTY, in_float32).host_bytes == (38 + 24 + 4) * GB
    assert plan(24 * GB, PLENTY, in_float32).host_bytes == plan(24 * GB, PLENTY, LTX_2_0).host_bytes + 24 * GB


@pytest.mark.parametrize("sizes", [LTX_2_0, LTX_2_3], ids=["2.0", "2.3"])
def test_what_is_mapped_from_its_file_is_not_counted_as_taken(sizes: Sizes) -> None:
    """The text encoder is used once per task: the kernel keeps its file cached, or reads it again."""
    placed = plan(24 * GB, 50 * GB, sizes)
    assert (placed.mode, placed.weights) == (OffloadMode.BLOCK, WeightDtype.BF16)
    assert placed.host_bytes == sizes.weights["transformer"] - sizes.outside_blocks + 4 * GB


def test_what_is_in_no_block_is_counted_on_the_gpu() -> None:
    whole = replace(LTX_2_0, outside_blocks=0)
    both = [plan(24 * GB, PLENTY, sizes) for sizes in (LTX_2_0, whole)]
    blocks = BLOCKS_OF_LTX2
    assert both[0].gpu_bytes - both[1].gpu_bytes == pytest.approx(0.69 * GB * (1 - 2 / blocks), abs=100)
    assert both[0].stream_buffer_bytes == (37.8 - 0.69) * GB // blocks * 2


def test_who_shares_a_card_is_told_how_much_of_it_is_free() -> None:
    with pytest.raises(ModelUnavailable, match=r"5\.0 GB of 80\.0 GB is free \(nvidia-smi"):
        plan(5 * GB, PLENTY, LTX_2_0, card_bytes=80 * GB)


def test_a_card_that_another_process_shares_gets_a_smaller_placement() -> None:
    assert plan((80 - 30) * GB, PLENTY, LTX_2_0, card_bytes=80 * GB).mode is OffloadMode.ALL_BUT_TRANSFORMER


@pytest.mark.parametrize("sizes", [LTX_2_0, LTX_2_3], ids=["2.0", "2.3"])
@pytest.mark.parametrize("card_gb", [80, 64, 48, 24, 16])
def test_every_card_with_a_placement_has_room_for_the_default_video_from_an_image(
    card_gb: int, sizes: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As measured at load: beside the weights, CUDA's context and the caches of the optimizations."""
    placed = plan(card_gb * GB, PLENTY, sizes)
    weights_bytes = placed.gpu_bytes - placed.stream_buffer_bytes - RESERVED_VRAM_BYTES
    monkeypatch.setattr(offload, "free_vram_bytes", lambda: card_gb * GB - weights_bytes - CONTEXT_BYTES)
    kept = choose_optimizations(placed, "cuda", LoadOptions())
    room_bytes = measure_free_vram(placed, kept)
    assert room_bytes is not None
    check_fits(VideoRequest(prompt="a cat"), room_bytes, RequestLimits(), GivenTokens(True))


HELD = {
    OffloadMode.NONE: "all on the GPU",
    OffloadMode.ALL_BUT_TRANSFORMER: "transformer on the GPU, the others pass through it",
    OffloadMode.BLOCK: "all pass through it, block by block",
}
CARD = re.compile(r"^\| (\d+) GB \([^)]*\) \| ([^|]+) \| (\d+) GB \|", re.MULTILINE)


def test_the_readmes_table_of_cards_is_what_the_plan_says() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = [(int(card), held, int(host)) for card, held, host in CARD.findall(readme)]
    assert [card for card, _, _ in rows] == [80, 48, 24, 16]
    for card_gb, held, host_gb in rows:
        for sizes in (LTX_2_0, LTX_2_3):
            assert held == HELD[plan(card_gb * GB, host_gb * GB, sizes).mode]
    fewer = re.search(r"WEIGHT_DTYPE=fp8` \((\d+) GB, ", readme)
    assert fewer is not None
    assert plan(24 * GB, int(fewer[1]) * GB, LTX_2_3, weights=WeightDtype.FP8).mode is OffloadMode.BLOCK
    for sizes in (LTX_2_0, LTX_2_3):
        assert f"| {math.ceil(sizes.total / GB)} GB, " in readme


def test_the_table_of_a_processor_has_the_dtype_that_is_computed_in(model: Ltx2Model) -> None:
    weights = next(model._text_to_video.transformer.parameters())
    assert {row.dtype for row in model.placement.rows} == {str(weights.dtype).removeprefix("torch.")}


def test_the_operator_may_name_the_place() -> None:
    assert plan(80 * GB, PLENTY, LTX_2_0, place=OffloadMode.BLOCK).mode is OffloadMode.BLOCK
    with pytest.raises(ModelUnavailable, match="none"):
        plan(24 * GB, PLENTY, LTX_2_0, place=OffloadMode.NONE)


def test_the_table_names_every_component_its_dtype_where_it_is_and_its_size() -> None:
    lines = plan(48 * GB, PLENTY, LTX_2_0, weights=WeightDtype.FP8).table().splitlines()
    assert lines[0].split() == ["component", "dtype", "where", "GB"]
    assert "transformer    float8    GPU                              19.25" in lines
    assert "text_encoder   bfloat16  host, passes through GPU         24.40" in lines
    assert len(lines) == 2 + len(LTX_2_0.weights)


@pytest.mark.parametrize("place", [place for place in OFFLOADED_COMPONENTS if place is not OffloadMode.NONE])
def test_a_model_that_passes_through_a_device_gives_the_same_result(
    model: Ltx2Model, cache_dir: Path, place: OffloadMode
) -> None:
    """The same hooks as on a GPU, with the CPU instead and without streams."""
    passing = Ltx2Model.load("tiny", "cpu", cache_dir, ignore)
    apply(passing._text_to_video, Placement(place, 0, 0), device="cpu")
    assert distance(denoise(passing), denoise(model)) == 0.0


def test_fp8_weights_that_pass_through_a_device_are_those_that_stay_on_it(cache_dir: Path) -> None:
    def stored(place: OffloadMode) -> Ltx2Model:
        loaded = Ltx2Model.load("tiny", "cpu", cache_dir, ignore, LoadOptions(optimizations=OFF))
        loaded._text_to_video.to(torch.bfloat16)
        apply(loaded._text_to_video, Placement(place, 0, 0, weights=WeightDtype.FP8), device="cpu")
        return loaded

    resident, streamed = stored(OffloadMode.NONE), stored(OffloadMode.BLOCK)
    query = streamed._text_to_video.transformer.transformer_blocks[0].attn1.to_q
    assert query.weight.dtype is torch.float8_e4m3fn
    assert distance(denoise(streamed), denoise(resident)) == 0.0


def test_fp8_weights_change_the_result_and_bfloat16_does_not_hide_it(model: Ltx2Model, cache_dir: Path) -> None:
    def in_bfloat16(weights: WeightDtype) -> Ltx2Model:
        loaded = Ltx2Model.load("tiny", "cpu", cache_dir, ignore, LoadOptions(optimizations=OFF))
        loaded._text_to_video.to(torch.bfloat16)
        apply(loaded._text_to_video, Placement(OffloadMode.CPU, 0, 0, weights=weights))
        return loaded

    stored, rounded = in_bfloat16(WeightDtype.BF16), in_bfloat16(WeightDtype.FP8)
    query = rounded._text_to_video.transformer.transformer_blocks[0].attn1.to_q
    assert query.weight.dtype is torch.float8_e4m3fn
    assert 0 < distance(denoise(rounded), denoise(stored)) < 5


PASSING_GB = {"text_encoder": 24, "connectors": 3, "vae": 2, "transformer": 38}


@pytest.mark.parametrize(
    ("room_gb", "pinned"),
    [
        (80, set(PASSING_GB)),
        (64, {"transformer", "text_encoder", "vae"}),
        (40, {"transformer", "vae"}),
        (20, {"connectors", "vae"}),
        (0, set()),
    ],
)
def test_what_passes_at_every_step_is_pinned_first(room_gb: int, pinned: set[str]) -> None:
    assert offload.choose_pinned(PASSING_GB, room_gb) == pinned


def test_the_table_says_what_is_pinned() -> None:
    placed = plan(24 * GB, PLENTY, LTX_2_0).with_pinned({"transformer"})
    lines = {line.split()[0]: line for line in placed.table().splitlines()}
    assert "pinned host, passes through GPU" in lines["transformer"]
    assert "pinned" not in lines["text_encoder"]
    assert "  host, passes through GPU" in lines["text_encoder"]
