"""Draws a label on every frame of a built-in model. Does not import torch."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

WORDINGS = (
    "DEMO MODEL - NOT LTX-2",
    "DEMO MODEL\nNOT LTX-2",
    "DEMO\nMODEL\nNOT\nLTX-2",
)
"""The text on one to four lines. The one that allows the largest letters is used; on a tie, the one with fewest lines.
"""
LEGIBLE_PX = 16
TEXT_HEIGHT_SHARE = 0.06
"""Letter size as a fraction of the frame's height."""
WIDTH_SHARE = 0.9
HEIGHT_SHARE = 0.8
"""The part of a frame that the label may cover. A small frame keeps a strip of its content."""


def draw_watermark(frames: npt.NDArray[np.uint8]) -> None:
    """Draw the label into `frames`, uint8 (T, H, W, 3), in place: white on black, in the top left corner."""
    _, height, width, _ = frames.shape
    patch = _patch(height, width)
    frames[:, : patch.shape[0], : patch.shape[1]] = patch


@lru_cache(maxsize=16)
def _patch(height: int, width: int) -> npt.NDArray[np.uint8]:
    """The label for frames of this size, cached: uint8 (h, w, 3), not larger than a frame."""
    text, size_px = _choose_wording(height, width)
    left, top, right, bottom = _measure(text, size_px)
    gap = _gap(size_px)
    image = Image.new("RGB", (round(right - left) + 2 * gap, round(bottom - top) + 2 * gap), "black")
    font = ImageFont.load_default(size_px)
    ImageDraw.Draw(image).multiline_text((gap - left, gap - top), text, "white", font, spacing=gap)
    return np.asarray(image)[:height, :width]


def _choose_wording(height: int, width: int) -> tuple[str, int]:
    """The text and its font size in pixels."""
    wanted_px = max(LEGIBLE_PX, round(height * TEXT_HEIGHT_SHARE))
    sizes_px = [min(wanted_px, _fitting_size(text, height, width)) for text in WORDINGS]
    size_px = max(sizes_px)
    return WORDINGS[sizes_px.index(size_px)], size_px


def _fitting_size(text: str, height: int, width: int) -> int:
    """The largest font size, in pixels, at which the text stays within its part of the frame."""
    left, top, right, bottom = _measure(text, 100)
    return int(100 * min(width * WIDTH_SHARE / (right - left), height * HEIGHT_SHARE / (bottom - top)))


def _measure(text: str, size_px: int) -> tuple[float, float, float, float]:
    """The bounding box of a text: left, top, right, bottom in pixels."""
    canvas = ImageDraw.Draw(Image.new("L", (1, 1)))
    return canvas.multiline_textbbox((0, 0), text, ImageFont.load_default(size_px), spacing=_gap(size_px))


def _gap(size_px: int) -> int:
    """The margin around the label and between its lines, in pixels."""
    return max(1, size_px // 5)
