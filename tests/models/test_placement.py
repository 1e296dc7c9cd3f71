from pathlib import Path

import pytest

from models.errors import ModelUnavailable
from models.placement import GB, Place, Sizes, decode_bytes, measure_sizes, plan, plan_cpu

LTX_2_0 = Sizes(total=int(67.7 * GB), largest_component=int(37.8 * GB), largest_block=int(0.79 * GB))
LTX_2_3 = Sizes(total=int(70.5 * GB), largest_component=int(38.0 * GB), largest_block=int(0.79 * GB))
PLENTY = 128 * GB


@pytest.mark.parametrize("sizes", [LTX_2_0, LTX_2_3])
@pytest.mark.parametrize(
    ("card_gb", "place"),
    [(80, Place.RESIDENT), (48, Place.COMPONENTS), (24, Place.BLOCKS), (16, Place.BLOCKS)],
)
def test_a_card_gets_the_fastest_placement_that_fits(card_gb: int, place: Place, sizes: Sizes) -> None:
    assert plan(card_gb * GB, PLENTY, sizes).place is place


def test_a_card_of_8_gb_is_told_what_is_needed_and_what_is_there() -> None:
    with pytest.raises(ModelUnavailable) as error:
        plan(8 * GB, PLENTY, LTX_2_0)
    assert "8.0 GB is free on the GPU" in error.value.message
    assert "blocks: 10.6 GB on the GPU and 71.7 GB in host memory" in error.value.message


def test_offloading_needs_host_memory_and_says_so() -> None:
    with pytest.raises(ModelUnavailable, match=r"32\.0 GB in host memory"):
        plan(48 * GB, 32 * GB, LTX_2_0)


def test_a_resident_model_needs_little_host_memory() -> None:
    assert plan(80 * GB, 16 * GB, LTX_2_0).place is Place.RESIDENT


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
    assert plan_cpu(PLENTY, LTX_2_0).place is Place.CPU
    with pytest.raises(ModelUnavailable, match=r"needs 67\.7 GB .* and 16\.0 GB is free"):
        plan_cpu(16 * GB, LTX_2_0)


def test_sizes_are_those_of_the_files(tiny_folder: Path) -> None:
    sizes = measure_sizes(tiny_folder)
    assert sizes.total == sum(file.stat().st_size for file in tiny_folder.rglob("*.safetensors"))
    assert sizes.largest_component == (tiny_folder / "vae" / "diffusion_pytorch_model.safetensors").stat().st_size


def test_decoding_the_default_size_needs_4_gb() -> None:
    assert decode_bytes(512, 768, 121) == pytest.approx(4.1 * GB, rel=0.01)
    assert decode_bytes(1088, 1920, 121) == pytest.approx(21.5 * GB, rel=0.02)
