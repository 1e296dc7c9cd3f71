"""Draws the clips that the demo model learns: one flat shape on a flat background, and a tone.

Lengths are in pixels, whatever the video's size, because the transformer knows only distances between tokens. Centers
lie on the corners of latent tokens and a shape moves by half a token per latent frame, so that few latents differ. No
prompt says where a shape is: it is in the middle, unless something given shows it elsewhere.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

FRAME_RATE = 24
TOKEN_PX = 32
"""Height and width of a latent token in pixels."""
RADIUS_PX = 64.0
SPEED_PX = 2.0
"""Pixels per frame: one token in 16 frames, which are two latent frames."""
GROWTH_PX = 2 / 3
"""Change of the radius in pixels per frame: 16 pixels in a second."""
MIN_RADIUS_PX, MAX_RADIUS_PX = 24.0, 128.0

SQUARE_SIDE = 0.88
"""Half the side of a square, as a share of its radius. The three shapes fill similar areas."""
TRIANGLE_BASE, TRIANGLE_SLOPE = 0.8, 2.0
"""The triangle's base lies this share of the radius below its center; its sides rise twice as fast as they run."""
TRIANGLE_TIP = 1.0


class Shape(StrEnum):
    """The shapes."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"


class Motion(StrEnum):
    """What the shape does."""

    STILL = "still"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    GROW = "grow"
    SHRINK = "shrink"


class Place(StrEnum):
    """Where the shape is."""

    MIDDLE = "middle"
    """The middle of its path is the middle of the video."""
    ANYWHERE = "anywhere"
    """At random, with its whole path in the video if there is room."""


class Tone(StrEnum):
    """What the audio does."""

    LOW = "low"
    HIGH = "high"
    RISING = "rising"
    BEEPS = "beeps"
    SILENCE = "silence"


COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 30, 40),
    "green": (30, 170, 60),
    "blue": (35, 70, 215),
    "yellow": (250, 215, 30),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
    "purple": (140, 50, 180),
    "orange": (250, 130, 20),
}
"""RGB of every color, 0 to 255."""
DIRECTIONS: Mapping[Motion, tuple[int, int]] = {
    Motion.LEFT: (-1, 0),
    Motion.RIGHT: (1, 0),
    Motion.UP: (0, -1),
    Motion.DOWN: (0, 1),
}
"""The unit step (x, y) of a motion. Motions without one stay in their place."""
START_RADIUS_PX: Mapping[Motion, float] = {Motion.GROW: 48.0, Motion.SHRINK: 80.0}


@dataclass(frozen=True)
class Scene:
    """All that a prompt can say about a clip."""

    shape: Shape
    color: str
    background: str
    motion: Motion
    tone: Tone


@dataclass(frozen=True)
class Size:
    """Height and width in pixels, multiples of 32, and frames, a multiple of 8 plus 1."""

    height: int
    width: int
    frames: int

    @property
    def latent(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns."""
        return (self.frames - 1) // 8 + 1, self.height // TOKEN_PX, self.width // TOKEN_PX


def draw_scene(rng: random.Random) -> Scene:
    """A scene with every attribute drawn at random. The two colors differ."""
    color, background = rng.sample(list(COLORS), 2)
    return Scene(rng.choice(list(Shape)), color, background, rng.choice(list(Motion)), rng.choice(list(Tone)))


def draw_variant(scene: Scene, rng: random.Random) -> Scene:
    """`scene` with another shape, color or background. The two colors differ."""
    name = rng.choice(("shape", "color", "background"))
    values = list(Shape) if name == "shape" else list(COLORS)
    left = [value for value in values if value not in (getattr(scene, name), scene.color, scene.background)]
    changed: dict[str, Any] = {name: rng.choice(left)}
    return replace(scene, **changed)


def choose_center(scene: Scene, size: Size, place: Place, rng: random.Random) -> tuple[float, float]:
    """The center (x, y) in the first frame, on a token's corner. In the middle, if the path has no room elsewhere."""
    dx, dy = DIRECTIONS.get(scene.motion, (0, 0))
    path_px = SPEED_PX * (size.frames - 1)
    x = _choose_on_axis(size.width, dx * path_px, place, rng)
    return x, _choose_on_axis(size.height, dy * path_px, place, rng)


def _choose_on_axis(length_px: int, path_px: float, place: Place, rng: random.Random) -> float:
    low = RADIUS_PX + max(0.0, -path_px)
    high = length_px - RADIUS_PX - max(0.0, path_px)
    corners = [float(corner) for corner in range(0, length_px + 1, TOKEN_PX) if low <= corner <= high]
    if corners and place is Place.ANYWHERE:
        return rng.choice(corners)
    middle = (length_px - path_px) / 2
    return float(round(middle / TOKEN_PX) * TOKEN_PX)


def render_frames(scene: Scene, size: Size, center: tuple[float, float]) -> Tensor:
    """Frames float32 (3, frames, height, width) in [-1, 1], with smooth edges."""
    frame = torch.arange(size.frames, dtype=torch.float32).view(-1, 1, 1)
    dx, dy = DIRECTIONS.get(scene.motion, (0, 0))
    x = torch.arange(size.width, dtype=torch.float32).view(1, 1, -1) + 0.5 - (center[0] + dx * SPEED_PX * frame)
    y = torch.arange(size.height, dtype=torch.float32).view(1, -1, 1) + 0.5 - (center[1] + dy * SPEED_PX * frame)
    inside = (0.5 - _signed_distance(scene.shape, x, y, radius_px(scene.motion, frame))).clamp(0, 1)
    color, background = (
        torch.tensor(COLORS[name]).view(3, 1, 1, 1) / 127.5 - 1 for name in (scene.color, scene.background)
    )
    return background + (color - background) * inside.expand(size.frames, size.height, size.width)


def radius_px(motion: Motion, frame: Tensor) -> Tensor:
    """The radius in pixels at each frame."""
    sign = {Motion.GROW: 1.0, Motion.SHRINK: -1.0}.get(motion, 0.0)
    start = START_RADIUS_PX.get(motion, RADIUS_PX)
    return (start + sign * GROWTH_PX * frame).clamp(MIN_RADIUS_PX, MAX_RADIUS_PX)


def _signed_distance(shape: Shape, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Pixels from the outline, negative inside."""
    if shape is Shape.CIRCLE:
        return (x * x + y * y).sqrt() - radius
    if shape is Shape.SQUARE:
        return torch.maximum(x.abs(), y.abs()) - radius * SQUARE_SIDE
    sides = (TRIANGLE_SLOPE * x.abs() - (y + TRIANGLE_TIP * radius)) / (1 + TRIANGLE_SLOPE**2) ** 0.5
    return torch.maximum(y - TRIANGLE_BASE * radius, sides)
