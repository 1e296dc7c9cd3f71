"""The poster: one frame of a clip as a JPEG, shown before the video plays."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from deployments.encoder.atomic_file import atomic_write
from models.yuv import PLANES_NDIM, to_rgb

QUALITY = 85
CANDIDATES = 9
STRIDE = 8
"""Contrast is measured on every eighth pixel in both directions, which is enough to detect a black frame."""


def representative_frame(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The frame with the most contrast among CANDIDATES frames spread over the clip; the earliest of equal ones.

    `frames` is uint8, RGB (T, H, W, 3) or YUV planes (T, H * 3 / 2, W). This avoids a black poster for a video that
    fades in from black.
    """
    candidates = np.unique(np.linspace(0, len(frames) - 1, CANDIDATES, dtype=int))
    shown = frames[:, : frames.shape[1] * 2 // 3] if frames.ndim == PLANES_NDIM + 1 else frames
    contrast = [float(shown[index, ::STRIDE, ::STRIDE].std()) for index in candidates]
    chosen: npt.NDArray[np.uint8] = frames[candidates[int(np.argmax(contrast))]]
    return chosen


def write_poster(frame: npt.NDArray[np.uint8], path: Path) -> None:
    """Write `frame`, RGB (H, W, 3) or YUV planes, to `path` as a JPEG, atomically. Raises EncodeFailed."""
    rgb = to_rgb(frame) if frame.ndim == PLANES_NDIM else frame
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(rgb)).save(temporary, "JPEG", quality=QUALITY, optimize=True)
