import numpy as np
import pytest

from models.watermark import LEGIBLE_PX, _choose_wording, _patch, draw_watermark

SIZES = [(64, 64), (64, 128), (128, 128), (256, 384), (512, 768), (1088, 1920), (1920, 1088), (64, 1920), (1920, 64)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_frame_of_every_size_is_labelled(height: int, width: int) -> None:
    frames = np.full((2, height, width, 3), 128, dtype=np.uint8)
    draw_watermark(frames)
    assert np.array_equal(frames[0], frames[1])
    assert (frames == 255).any()
    assert (frames == 0).any()
    assert (frames[:, -1] == 128).all(), "the image is still seen"


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_label_fits_and_is_legible(height: int, width: int) -> None:
    text, size_px = _choose_wording(height, width)
    patch = _patch(height, width)
    assert patch.shape[0] < height
    assert patch.shape[1] <= width
    assert text.replace("\n", " ").replace(" - ", " ") == "DEMO MODEL NOT LTX-2"
    assert size_px >= (LEGIBLE_PX if min(height, width) >= 128 else 10)


def test_a_large_frame_has_a_large_label_on_one_line() -> None:
    text, size_px = _choose_wording(1088, 1920)
    assert "\n" not in text
    assert size_px > 60
