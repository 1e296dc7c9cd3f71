"""Converts frames to the video file's format: YUV 4:2:0 in BT.709, limited range. Half the bytes of RGB.

On a GPU, the conversion runs where the frames are, so half as many bytes travel to the Encoder, which converts nothing.
On a CPU, frames stay RGB: torch needs longer for the planes than the Encoder's own conversion. Each value differs by at
most 1 from the result of that conversion, swscale, for the same frames.

The planes of a frame are one array (H * 3 / 2, W): H rows of luma, then H / 4 rows each of Cb and of Cr. One such row
holds two chroma rows.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

RED, BLUE = 0.2126, 0.0722
GREEN = 1 - RED - BLUE
"""The weight of each color in luma (ITU-R BT.709, 3.2)."""
LUMA_STEPS, LUMA_ZERO = 219, 16
CHROMA_STEPS, CHROMA_ZERO = 224, 128
"""Limited range (BT.709, 4.2)."""
FRAMES_AT_ONCE = 4
PLANES_NDIM = 2
"""Dimensions of one frame's planes. RGB has one more, for the colors."""

Bytes = npt.NDArray[np.uint8]


def to_planes(video: "Tensor", num_frames: int) -> Bytes:
    """Convert a float video in [-1, 1], (3, T, H, W) with even sides, to planes of its first `num_frames` frames.

    Returns uint8 (num_frames, H * 3 / 2, W) in host memory. Converts a few frames at a time on the video's device, so
    that only bytes are copied to the host.
    """
    import torch

    _, _, height, width = video.shape
    planes = torch.empty((num_frames, height * 3 // 2, width), dtype=torch.uint8)
    for start in range(0, num_frames, FRAMES_AT_ONCE):
        stop = min(start + FRAMES_AT_ONCE, num_frames)
        rgb = video[:, start:stop].float().mul(0.5).add_(0.5).clamp_(0, 1)
        parts = (_luma_bytes(rgb), *_chroma_bytes(_halved(rgb)))
        planes[start:stop] = torch.cat([part.reshape(stop - start, -1, width) for part in parts], dim=1)
    array: Bytes = planes.numpy()
    return array


def to_rgb(planes: Bytes) -> Bytes:
    """Convert planes (..., H * 3 / 2, W) to RGB (..., H, W, 3) for display. A chroma value fills its four pixels."""
    *count, rows, width = planes.shape
    height = rows * 2 // 3
    luma = (planes[..., :height, :].astype(np.float32) - LUMA_ZERO) / LUMA_STEPS
    halves = planes[..., height:, :].reshape(*count, 2, height // 2, width // 2)
    chroma = (halves.astype(np.float32) - CHROMA_ZERO) / CHROMA_STEPS
    blue_less, red_less = np.moveaxis(chroma.repeat(2, axis=-2).repeat(2, axis=-1), -3, 0)
    red = luma + red_less * (2 * (1 - RED))
    blue = luma + blue_less * (2 * (1 - BLUE))
    green = (luma - RED * red - BLUE * blue) / GREEN
    rgb = np.stack([red, green, blue], axis=-1)
    return (rgb.clip(0, 1) * 255).round().astype(np.uint8)


def _luma(rgb: "Tensor") -> "Tensor":
    red, green, blue = rgb
    luma: Tensor = red * RED + green * GREEN + blue * BLUE
    return luma


def _luma_bytes(rgb: "Tensor") -> "Tensor":
    import torch

    return _luma(rgb).mul_(LUMA_STEPS).add_(LUMA_ZERO + 0.5).to(torch.uint8)


def _chroma_bytes(rgb: "Tensor") -> tuple["Tensor", "Tensor"]:
    import torch

    luma = _luma(rgb)
    differences = ((rgb[2] - luma) / (2 * (1 - BLUE)), (rgb[0] - luma) / (2 * (1 - RED)))
    blue, red = (each.mul_(CHROMA_STEPS).add_(CHROMA_ZERO + 0.5).to(torch.uint8) for each in differences)
    return blue, red


def _halved(rgb: "Tensor") -> "Tensor":
    """Halve rows and columns as swscale does: the mean of two columns, and four rows weighted 1, 3, 3, 1."""
    import torch

    columns = (rgb[..., 0::2] + rgb[..., 1::2]) / 2
    rows = torch.nn.functional.pad(columns, (0, 0, 1, 1), mode="replicate")
    outer, inner = rows[..., 0:-3:2, :] + rows[..., 3::2, :], rows[..., 1:-2:2, :] + rows[..., 2:-1:2, :]
    return (outer + 3 * inner) / 8


def halve_planes(planes: Bytes) -> Bytes:
    """Halve height and width of planes (T, H * 3 / 2, W), whose H is a multiple of 8. A value is the mean of four."""
    count, rows, width = planes.shape
    height = rows * 2 // 3
    halved = np.empty((count, rows // 2, width // 2), np.uint8)
    for index, frame in enumerate(planes):
        halved[index, : height // 2] = _mean_of_four(frame[:height])
        chroma = _mean_of_four(frame[height:].reshape(2, height // 2, width // 2))
        halved[index, height // 2 :] = chroma.reshape(-1, width // 2)
    return halved


def _mean_of_four(values: Bytes) -> Bytes:
    """The rounded mean of each square of four values, in (..., H, W)."""
    columns = values[..., 0::2].astype(np.uint16) + values[..., 1::2]
    return ((columns[..., 0::2, :] + columns[..., 1::2, :] + 2) // 4).astype(np.uint8)


def rgb_to_planes(frames: Bytes) -> Bytes:
    """Convert RGB frames (T, H, W, 3) with even sides to planes (T, H * 3 / 2, W)."""
    import torch

    count, height, width, _ = frames.shape
    planes = np.empty((count, height * 3 // 2, width), np.uint8)
    for start in range(0, count, FRAMES_AT_ONCE):
        part = torch.from_numpy(np.ascontiguousarray(frames[start : start + FRAMES_AT_ONCE]))
        planes[start : start + len(part)] = to_planes(part.permute(3, 0, 1, 2) / 127.5 - 1, len(part))
    return planes


def planes_to_float(planes: "Tensor") -> "Tensor":
    """Convert planes, uint8 (T, H * 3 / 2, W) on any device, to a float video in [-1, 1], (3, T, H, W)."""
    import torch

    count, rows, width = planes.shape
    height = rows * 2 // 3
    luma = (planes[:, :height].float() - LUMA_ZERO) / LUMA_STEPS
    halves = (planes[:, height:].reshape(count, 2, height // 2, width // 2).float() - CHROMA_ZERO) / CHROMA_STEPS
    chroma = torch.nn.functional.interpolate(halves, size=(height, width), mode="bilinear")
    red = luma + chroma[:, 1] * (2 * (1 - RED))
    blue = luma + chroma[:, 0] * (2 * (1 - BLUE))
    green = (luma - RED * red - BLUE * blue) / GREEN
    return torch.stack([red, green, blue]).clamp_(0, 1).mul_(2).sub_(1)
