"""Reads from a clip's frames and audio what a prompt can say about it. Uses no network."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.architecture import SAMPLE_RATE_HZ
from training.tones import BEEP_HZ, HIGH_HZ, LOW_HZ
from training.world import (
    COLORS,
    SPEED_PX,
    SQUARE_SIDE,
    TRIANGLE_BASE,
    TRIANGLE_SLOPE,
    TRIANGLE_TIP,
    Motion,
    Shape,
    Tone,
    radius_px,
)

Frames = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Samples = npt.NDArray[np.floating]

BORDER_PX = 6
COLOR_DISTANCE = 70.0
"""A pixel belongs to the shape if its RGB is this far from the background's, of at most 441."""
MIN_AREA_PX = 200
MOVED_SHARE = 0.4
"""A shape moves if its center covers this share of the path."""
QUIET_RMS = 0.02
BEEP_SHARES = (0.25, 0.8)
"""Beeps sound in this share of the time."""
ENVELOPE_S = 0.05
RISE_HZ = 120.0


@dataclass(frozen=True)
class Seen:
    """What a clip shows. `color`, `shape` and `motion` are None if there is no shape, `tone` without audio.

    `overlap` is that of the shape with the ideal one of its kind and area: intersection over union.
    """

    background: str
    color: str | None
    shape: Shape | None
    motion: Motion | None
    tone: Tone | None
    overlap: float


def analyze(frames: Frames, audio: Samples | None, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Seen:
    """Read a clip: frames (T, H, W, 3) and samples (channels, samples) or None."""
    tone = None if audio is None else hear_tone(audio.mean(0), sample_rate_hz)
    middle = frames[len(frames) // 2].astype(float)
    background = _border_color(middle)
    mask = _find_shape(middle, background)
    if mask.sum() < MIN_AREA_PX:
        return Seen(_nearest_color(background), None, None, None, tone, 0.0)
    color = _nearest_color(np.median(middle[mask], axis=0))
    shape, overlap = match_shape(mask)
    return Seen(_nearest_color(background), color, shape, see_motion(frames, background), tone, overlap)


def _border_color(frame: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    edges = (frame[:BORDER_PX], frame[-BORDER_PX:], frame[:, :BORDER_PX], frame[:, -BORDER_PX:])
    color: npt.NDArray[np.floating] = np.median(np.concatenate([edge.reshape(-1, 3) for edge in edges]), axis=0)
    return color


def _nearest_color(rgb: npt.NDArray[np.floating]) -> str:
    return min(COLORS, key=lambda name: float(((np.array(COLORS[name]) - rgb) ** 2).sum()))


def _find_shape(frame: npt.NDArray[np.floating], background: npt.NDArray[np.floating]) -> Mask:
    mask: Mask = np.sqrt(((frame - background) ** 2).sum(-1)) > COLOR_DISTANCE
    return mask


def match_shape(mask: Mask) -> tuple[Shape, float]:
    """The shape that overlaps most with `mask`, drawn around its center with its area, and the overlap."""
    overlaps = {shape: _overlap(shape, mask) for shape in Shape}
    best = max(overlaps, key=lambda shape: overlaps[shape])
    return best, overlaps[best]


def _overlap(shape: Shape, mask: Mask) -> float:
    height, width = mask.shape
    center_x, center_y = _center(mask)
    x, y = np.arange(width)[None] - center_x, np.arange(height)[:, None] - center_y
    radius = math.sqrt(mask.sum() / _unit_area(shape))
    ideal = _draw(shape, x, y, radius)
    return float((ideal & mask).sum() / (ideal | mask).sum())


def _unit_area(shape: Shape) -> float:
    """The area of a shape of radius 1."""
    triangle_height = TRIANGLE_BASE + TRIANGLE_TIP
    areas = {Shape.CIRCLE: math.pi, Shape.SQUARE: (2 * SQUARE_SIDE) ** 2}
    return areas.get(shape, triangle_height**2 / TRIANGLE_SLOPE)


def _draw(shape: Shape, x: npt.NDArray[np.floating], y: npt.NDArray[np.floating], radius: float) -> Mask:
    """A shape whose center of area lies at the origin."""
    if shape is Shape.CIRCLE:
        mask: Mask = x * x + y * y < radius * radius
    elif shape is Shape.SQUARE:
        mask = np.maximum(abs(x), abs(y)) < SQUARE_SIDE * radius
    else:
        y = y + (TRIANGLE_BASE - (TRIANGLE_BASE + TRIANGLE_TIP) / 3) * radius
        mask = (y < TRIANGLE_BASE * radius) & (TRIANGLE_SLOPE * abs(x) < y + TRIANGLE_TIP * radius)
    return mask


def _center(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()), float(rows.mean())


def find_center(frame: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """The center (x, y) of the shape in a frame (H, W, 3), in pixels. Raises ValueError without a shape."""
    pixels = frame.astype(float)
    mask = _find_shape(pixels, _border_color(pixels))
    if mask.sum() < MIN_AREA_PX:
        raise ValueError("no shape is seen in this frame")
    return _center(mask)


def see_motion(frames: Frames, background: npt.NDArray[np.floating]) -> Motion | None:
    """What the shape does between the first and the last frame. None if it is missing in one of them."""
    first, last = (_find_shape(frames[i].astype(float), background) for i in (0, -1))
    if min(first.sum(), last.sum()) < MIN_AREA_PX:
        return None
    (x0, y0), (x1, y1) = _center(first), _center(last)
    dx, dy = x1 - x0, y1 - y0
    if max(abs(dx), abs(dy)) > MOVED_SHARE * SPEED_PX * (len(frames) - 1):
        if abs(dx) > abs(dy):
            return Motion.RIGHT if dx > 0 else Motion.LEFT
        return Motion.DOWN if dy > 0 else Motion.UP
    growth = math.sqrt(last.sum() / first.sum())
    return next(
        (motion for motion in (Motion.GROW, Motion.SHRINK) if _follows(growth, motion, len(frames))), Motion.STILL
    )


def _follows(growth: float, motion: Motion, frames: int) -> bool:
    """Whether the radius has changed by more than half of what `motion` does, on a logarithmic scale."""
    first, last = radius_px(motion, torch.tensor([0.0, frames - 1.0])).tolist()
    half = math.log(last / first) / 2
    return math.log(growth) / half > 1


def hear_tone(samples: Samples, sample_rate_hz: int) -> Tone:
    """The tone of one channel."""
    if np.sqrt(np.mean(samples**2)) < QUIET_RMS:
        return Tone.SILENCE
    window = round(ENVELOPE_S * sample_rate_hz)
    whole = samples[: len(samples) // window * window].reshape(-1, window)
    envelope = np.sqrt((whole**2).mean(1))
    loud = envelope > envelope.max() / 2
    if BEEP_SHARES[0] < loud.mean() < BEEP_SHARES[1] and np.count_nonzero(np.diff(loud)) > 1:
        return Tone.BEEPS
    quarter = len(samples) // 4
    if _pitch_hz(samples[-quarter:], sample_rate_hz) > _pitch_hz(samples[:quarter], sample_rate_hz) + RISE_HZ:
        return Tone.RISING
    pitch_hz = _pitch_hz(samples, sample_rate_hz)
    tones = {Tone.LOW: LOW_HZ, Tone.HIGH: HIGH_HZ, Tone.BEEPS: BEEP_HZ}
    return min(tones, key=lambda tone: abs(tones[tone] - pitch_hz))


def _pitch_hz(samples: Samples, sample_rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax()) * sample_rate_hz / len(samples)
