"""Writes on every frame that the tiny model drew it. Knows no torch."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

WORDINGS = (
    "TINY RANDOM MODEL - NOT LTX-2",
    "TINY RANDOM MODEL\nNOT LTX-2",
    "TINY\nRANDOM\nMODEL\nNOT LTX-2",
)
"""From one line to four: the one whose letters can be largest is taken, and of equals the flattest."""
LEGIBLE_PX = 16
TEXT_HEIGHT_SHARE = 0.06
"""The size of the letters, as a share of the frame's height."""
WIDTH_SHARE = 0.9
HEIGHT_SHARE = 0.8
"""How much of a frame a label may take: a small frame keeps a strip of its picture."""


def draw_watermark(frames: npt.NDArray[np.uint8]) -> None:
    """Draw the label into `frames`, uint8 (T, H, W, 3), in place: white on black, at the top left corner."""
    _, height, width, _ = frames.shape
    patch = _patch(height, width)
    frames[:, : patch.shape[0], : patch.shape[1]] = patch


@lru_cache(maxsize=16)
def _patch(height: int, width: int) -> npt.NDArray[np.uint8]:
    """The label for frames of this size, drawn once: uint8 (h, w, 3), no larger than a frame."""
    text, size_px = _choose_wording(height, width)
    left, top, right, bottom = _measure(text, size_px)
    gap = _gap(size_px)
    image = Image.new("RGB", (round(right - left) + 2 * gap, round(bottom - top) + 2 * gap), "black")
    font = ImageFont.load_default(size_px)
    ImageDraw.Draw(image).multiline_text((gap - left, gap - top), text, "white", font, spacing=gap)
    return np.asarray(image)[:height, :width]


def _choose_wording(height: int, width: int) -> tuple[str, int]:
    """The wording and its font size in pixels."""
    wanted_px = max(LEGIBLE_PX, round(height * TEXT_HEIGHT_SHARE))
    sizes_px = [min(wanted_px, _fitting_size(text, height, width)) for text in WORDINGS]
    size_px = max(sizes_px)
    return WORDINGS[sizes_px.index(size_px)], size_px


def _fitting_size(text: str, height: int, width: int) -> int:
    """The largest font size at which a text takes no more than its share of a frame."""
    left, top, right, bottom = _measure(text, 100)
    return int(100 * min(width * WIDTH_SHARE / (right - left), height * HEIGHT_SHARE / (bottom - top)))


def _measure(text: str, size_px: int) -> tuple[float, float, float, float]:
    """The box of a text: left, top, right, bottom in pixels."""
    canvas = ImageDraw.Draw(Image.new("L", (1, 1)))
    return canvas.multiline_textbbox((0, 0), text, ImageFont.load_default(size_px), spacing=_gap(size_px))


def _gap(size_px: int) -> int:
    """The margin around the label and between its lines."""
    return max(1, size_px // 5)
