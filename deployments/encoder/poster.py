"""The poster: one frame of a clip as a JPEG, for whoever shows the video before it plays."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from deployments.encoder.atomic_file import atomic_write
from models.yuv import PLANES_NDIM, to_rgb

QUALITY = 85
CANDIDATES = 9
STRIDE = 8
"""Of every eighth pixel each way: enough to tell a picture from a black frame."""


def representative_frame(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Choose among frames, RGB or planes of YUV, spread over the clip, the one with the most contrast.

    So a fade from black is not what stands for the video. Of equals the earliest.
    """
    candidates = np.unique(np.linspace(0, len(frames) - 1, CANDIDATES, dtype=int))
    shown = frames[:, : frames.shape[1] * 2 // 3] if frames.ndim == PLANES_NDIM + 1 else frames
    contrast = [float(shown[index, ::STRIDE, ::STRIDE].std()) for index in candidates]
    chosen: npt.NDArray[np.uint8] = frames[candidates[int(np.argmax(contrast))]]
    return chosen


def write_poster(frame: npt.NDArray[np.uint8], path: Path) -> None:
    """Write `frame`, RGB (H, W, 3) or planes of YUV, as a JPEG. `path` is whole or not there. Raises EncodeFailed."""
    rgb = to_rgb(frame) if frame.ndim == PLANES_NDIM else frame
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(rgb)).save(temporary, "JPEG", quality=QUALITY, optimize=True)
