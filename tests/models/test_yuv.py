"""Promise: planes from the Generator equal those that the Encoder would make from the same frames, within 1 of 256."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from av.video.reformatter import VideoReformatter

from deployments.encoder.mp4 import _to_yuv
from models.clip import Clip
from models.conditions import NO_CONDITIONS
from models.ltx2.decode import decode_frames, to_bytes
from models.ltx2.model import Ltx2Model
from models.yuv import halve_planes, to_planes, to_rgb
from tests.models.conftest import ignore, small

TOLERANCE = 1


def waves(num_frames: int, height: int, width: int) -> torch.Tensor:
    """A smooth moving video with every color: (3, T, H, W) in [-1, 1]."""
    time, down, across = torch.meshgrid(
        torch.arange(num_frames), torch.arange(height), torch.arange(width), indexing="ij"
    )
    shades = ((across + 4 * time) / 37, (down - 3 * time) / 23 + across / 90, (across + down + 5 * time) / 51)
    return torch.stack([torch.sin(shade) for shade in shades])


def noise(num_frames: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(3, num_frames, height, width, generator=torch.Generator().manual_seed(6)) * 0.7


def by_swscale(video: torch.Tensor) -> np.ndarray:
    frames = to_bytes(video, video.shape[1])
    return np.stack([_to_yuv(VideoReformatter(), frame).to_ndarray() for frame in frames])


@pytest.mark.parametrize("image", [waves, noise])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 64), (64, 192)])
def test_planes_are_swscale_s_to_one_level(image, height: int, width: int) -> None:
    video = image(6, height, width)
    difference = np.abs(to_planes(video, 6).astype(int) - by_swscale(video).astype(int))
    assert difference.max() <= TOLERANCE


def test_only_the_frames_that_were_asked_for_come() -> None:
    video = noise(9, 64, 128)
    assert to_planes(video, 5).shape == (5, 96, 128)
    assert np.array_equal(to_planes(video, 5), to_planes(video, 9)[:5])


def test_they_are_half_of_the_bytes_of_rgb() -> None:
    video = waves(3, 64, 64)
    assert 2 * to_planes(video, 3).nbytes == to_bytes(video, 3).nbytes


def test_a_smooth_image_comes_back_as_rgb() -> None:
    video = waves(2, 64, 128)
    difference = np.abs(to_rgb(to_planes(video, 2)).astype(int) - to_bytes(video, 2).astype(int))
    assert difference.mean() < 2
    assert difference.max() < 16


def test_black_and_white_are_the_ends_of_the_limited_range() -> None:
    for shade, luma in ((-1.0, 16), (1.0, 235), (-3.0, 16), (3.0, 235)):
        planes = to_planes(torch.full((3, 1, 64, 64), shade), 1)
        assert set(planes[:, :64].flat) == {luma}
        assert set(planes[:, 64:].flat) == {128}


def test_half_of_the_planes_is_the_mean_of_four_values_in_each_plane() -> None:
    planes = to_planes(noise(2, 64, 128), 2)
    halved = halve_planes(planes)
    assert halved.shape == (2, 48, 64)
    for whole, half in ((planes[:, :64], halved[:, :32]), (_chroma(planes), _chroma(halved))):
        squares = whole.reshape(*whole.shape[:-2], whole.shape[-2] // 2, 2, whole.shape[-1] // 2, 2)
        assert np.abs(squares.mean(axis=(-3, -1)) - half).max() <= 0.5


def _chroma(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The two planes of color (T, 2, H / 2, W / 2)."""
    count, rows, width = planes.shape
    return planes[:, rows * 2 // 3 :].reshape(count, 2, rows // 3, width // 2)


def test_a_clip_knows_its_size_either_way() -> None:
    video = noise(2, 64, 128)
    for frames in (to_planes(video, 2), to_bytes(video, 2)):
        clip = Clip(frames, np.zeros((2, 0), np.float32), 24_000, Fraction(25))
        assert (clip.height, clip.width) == (64, 128)


def test_the_decoder_gives_either(model: Ltx2Model) -> None:
    latents = model._denoise(small(), NO_CONDITIONS, ignore)
    vae = model._text_to_video.vae
    rgb, _ = decode_frames(vae, latents.video, small(), on_gpu=False)
    planes, _ = decode_frames(vae, latents.video, small(), on_gpu=False, as_planes=True)
    again = np.stack([_to_yuv(VideoReformatter(), frame).to_ndarray() for frame in rgb])
    assert np.abs(planes.astype(int) - again.astype(int)).max() <= TOLERANCE
