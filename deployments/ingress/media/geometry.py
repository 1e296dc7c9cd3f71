"""Brings a video's frames to the size of the clip that is made from it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from deployments.ingress.media.colors import RGB, ColorMap, is_mapped

SCALING = Interpolation.LANCZOS
CONVERSION = SCALING | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
"""For other colors than those of the clip. Without the flags, colors are off by twice as much (measured: 5 of 255)."""
Planes = npt.NDArray[np.uint8]
SD_HEIGHT = 576
"""A video without a named color matrix is BT.601 up to this height."""
UNSPECIFIED = 2
MATRICES = {
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""Matrices that files name, other than that of BT.709."""


@dataclass(frozen=True)
class FrameFitter:
    """Brings frames to a size: upright, in BT.709 limited range, scaled to cover the size and cropped in the center.

    `quarter_turns` are counterclockwise. `colors` maps HDR and BT.2020. A frame that is so already keeps its samples.
    """

    width: int
    height: int
    source_width: int
    source_height: int
    quarter_turns: int
    colors: ColorMap | None = None

    def divided(self, divisor: int) -> "FrameFitter":
        """The same for a clip with smaller sides."""
        return replace(self, width=self.width // divisor, height=self.height // divisor)

    def fit(self, frame: VideoFrame) -> Planes:
        """The planes of yuv420p (height * 3 / 2, width)."""
        width, height = self.unturned_size
        matrix, is_full = _matrix_of(frame), frame.color_range == ColorRange.JPEG
        scaled = frame.reformat(
            width=width,
            height=height,
            format="yuv420p" if self.colors is None else RGB,
            src_colorspace=matrix,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG if self.colors is None else ColorRange.JPEG,
            interpolation=CONVERSION if is_full or matrix != Colorspace.ITU709 else SCALING,
        )
        if self.colors is not None:
            scaled = _as_yuv(self.colors.map(scaled))
        planes = scaled.to_ndarray().astype(np.uint8, copy=False)
        return np.concatenate([part.reshape(-1, self.width) for part in self._cut(planes, width, height)])

    @property
    def unturned_size(self) -> tuple[int, int]:
        """The width and height that cover the clip before frames are turned."""
        width, height = self._covering()
        return (height, width) if self.quarter_turns % 2 else (width, height)

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


def _as_yuv(frame: VideoFrame) -> VideoFrame:
    """RGB as yuv420p in BT.709 limited range."""
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=CONVERSION,
    )


def _matrix_of(frame: VideoFrame) -> Colorspace:
    """The matrix that the file names; otherwise the one that players assume."""
    if frame.colorspace in MATRICES:
        return MATRICES[frame.colorspace]
    if frame.colorspace == UNSPECIFIED and is_mapped(frame):
        return Colorspace.BT2020
    if frame.colorspace == UNSPECIFIED and min(frame.height, frame.width) <= SD_HEIGHT:
        return Colorspace.ITU601
    return Colorspace.ITU709
