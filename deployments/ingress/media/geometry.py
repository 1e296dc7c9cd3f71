"""The size of a clip that is made from a video, and how the video's frames are brought to it."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from models.request.request import SIDE_MULTIPLE

Planes = npt.NDArray[np.uint8]
SD_HEIGHT = 576
"""A video without a named color matrix is BT.601 up to this height."""
UNSPECIFIED = 2
CLASSIC_MATRICES = {5: Colorspace.ITU601, 6: Colorspace.ITU601, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M}


def fit_size(
    width: int,
    height: int,
    num_frames: int,
    *,
    most_side_px: int,
    most_total_pixels: int,
    multiple: int = SIDE_MULTIPLE,
) -> tuple[int, int]:
    """The size nearest to that of the source with sides that are multiples, within the bounds."""
    most = most_side_px // multiple * multiple
    scale = min(1.0, most / max(width, height))
    for _ in range(most // SIDE_MULTIPLE):
        sides = (min(most, max(multiple, _nearest(side * scale, multiple))) for side in (width, height))
        fitted = next(sides), next(sides)
        if fitted[0] * fitted[1] * num_frames <= most_total_pixels:
            break
        scale *= 0.95
    return fitted


def _nearest(side: float, multiple: int) -> int:
    return math.floor(side / multiple + 0.5) * multiple


@dataclass(frozen=True)
class FrameFitter:
    """Brings frames to a size: upright, in BT.709 limited range, scaled to cover the size and cropped in the center.

    `quarter_turns` are counterclockwise. A frame that is so already keeps its samples.
    """

    width: int
    height: int
    source_width: int
    source_height: int
    quarter_turns: int

    def divided(self, divisor: int) -> "FrameFitter":
        """The same for a clip with smaller sides."""
        return replace(self, width=self.width // divisor, height=self.height // divisor)

    def fit(self, frame: VideoFrame) -> Planes:
        """The planes of yuv420p (height * 3 / 2, width)."""
        width, height = self._covering()
        if self.quarter_turns % 2:
            width, height = height, width
        frame = frame.reformat(
            width=width,
            height=height,
            format="yuv420p",
            src_colorspace=_matrix_of(frame),
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG if frame.color_range == ColorRange.JPEG else ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.LANCZOS,
        )
        planes = frame.to_ndarray().astype(np.uint8, copy=False)
        return np.concatenate([part.reshape(-1, self.width) for part in self._cut(planes, width, height)])

    def _covering(self) -> tuple[int, int]:
        """The upright size that covers the clip: even sides, in the shape of the source."""
        scale = max(self.width / self.source_width, self.height / self.source_height)
        sides = ((self.source_width * scale, self.width), (self.source_height * scale, self.height))
        width, height = (max(least, round(side / 2) * 2) for side, least in sides)
        return width, height

    def _cut(self, planes: Planes, width: int, height: int) -> list[Planes]:
        """The three planes, turned and cropped."""
        chroma = planes[height:].reshape(2, height // 2, width // 2)
        turned = [np.rot90(each, self.quarter_turns) for each in (planes[:height], *chroma)]
        return [np.ascontiguousarray(_center(each, *self._plane_size(number))) for number, each in enumerate(turned)]

    def _plane_size(self, number: int) -> tuple[int, int]:
        return (self.height, self.width) if number == 0 else (self.height // 2, self.width // 2)


def _center(plane: Planes, height: int, width: int) -> Planes:
    """The center of a plane."""
    top, left = (plane.shape[0] - height) // 2, (plane.shape[1] - width) // 2
    return plane[top : top + height, left : left + width]


def _matrix_of(frame: VideoFrame) -> Colorspace:
    """The matrix that the file names; otherwise the one that players assume."""
    if frame.colorspace in CLASSIC_MATRICES:
        return CLASSIC_MATRICES[frame.colorspace]
    if frame.colorspace == UNSPECIFIED and min(frame.height, frame.width) <= SD_HEIGHT:
        return Colorspace.ITU601
    return Colorspace.ITU709
