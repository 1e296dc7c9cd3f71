"""The poster: a JPEG of the most informative frame."""

import numpy as np
import pytest
from PIL import Image

from deployments.encoder.poster import representative_frame, write_poster
from models.errors import EncodeFailed


def test_the_poster_is_a_jpeg_of_the_frame(tmp_path):
    frame = np.full((64, 128, 3), (200, 60, 30), np.uint8)
    frame.setflags(write=False)
    write_poster(frame, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (128, 64), "RGB")
        assert np.abs(np.subtract(image.getpixel((60, 30)), (200, 60, 30))).max() < 4
    assert [file.name for file in tmp_path.iterdir()] == ["a.jpg"]


def test_a_fade_from_black_is_not_what_stands_for_the_video():
    frames = np.zeros((49, 64, 64, 3), np.uint8)
    frames[20:30, :32] = 255
    assert representative_frame(frames).any()


def test_planes_give_a_poster_of_the_same_image(tmp_path):
    planes = np.full((49, 96, 128), 128, np.uint8)
    planes[:, :64] = 16
    planes[20:30, :32] = 235
    chosen = representative_frame(planes)
    assert chosen.shape == (96, 128)
    write_poster(chosen, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == (128, 64)
        assert min(image.getpixel((64, 10))) > 250
        assert max(image.getpixel((64, 54))) < 5


@pytest.mark.parametrize("num_frames", [1, 2, 9, 481])
def test_a_clip_of_any_length_has_a_representative_frame(num_frames):
    frames = np.zeros((num_frames, 64, 64, 3), np.uint8)
    assert representative_frame(frames).shape == (64, 64, 3)


def test_a_poster_that_cannot_be_written_is_an_encode_failure(tmp_path):
    with pytest.raises(EncodeFailed, match=r"a\.jpg"):
        write_poster(np.zeros((64, 64, 3), np.uint8), tmp_path / "missing" / "a.jpg")
