"""A pool of encoded clips, so that a step of the transformer runs no VAE.

Clip number i is drawn from its own seed. The pool can therefore be made again, and a resumed run sees the same clips.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.world import Place, Scene, Size, choose_center, draw_scene, draw_variant, render_frames

LAST_FRAMES = 0.5
"""Share of clips whose image is their last frame."""
SHAPE_TOKEN = 0.05
"""A token holds the shape if a pixel in it differs from the background by this much, of a range of 2."""


@dataclass(frozen=True)
class Bucket:
    """Clips of one size: their share of the steps, the clips in a batch, and the clips of each place in the pool."""

    size: Size
    share: float
    batch: int
    clips: Mapping[Place, int]


def _counts(middle: int, anywhere: int) -> Mapping[Place, int]:
    return {Place.MIDDLE: middle, Place.ANYWHERE: anywhere}


BUCKETS = (
    Bucket(Size(256, 384, 25), 0.14, 8, _counts(512, 192)),
    Bucket(Size(384, 256, 25), 0.05, 8, _counts(96, 48)),
    Bucket(Size(256, 256, 17), 0.05, 16, _counts(128, 64)),
    Bucket(Size(256, 384, 9), 0.02, 16, _counts(64, 32)),
    Bucket(Size(256, 384, 49), 0.06, 4, _counts(64, 24)),
    Bucket(Size(256, 384, 121), 0.22, 2, _counts(112, 24)),
    Bucket(Size(512, 768, 25), 0.06, 2, _counts(32, 12)),
    Bucket(Size(512, 768, 49), 0.12, 1, _counts(40, 12)),
    Bucket(Size(512, 768, 121), 0.28, 1, _counts(60, 14)),
)


@dataclass(frozen=True)
class EncodedClip:
    """Latents (channels, frames, rows, columns), float32 as encoded, and which tokens hold the shape (frames, ...).

    `image` has the latents (channels, 1, rows, columns) of one later frame alone, and `image_frame` is its number.
    `variant` has the latents of the same clip with another shape, color or background. It is None where the shape is in
    the middle, since nothing is given of such clips.
    """

    scene: Scene
    latents: Tensor
    holds_shape: Tensor
    image: Tensor
    image_frame: int
    variant: Tensor | None


class LatentPool:
    """The clips of every bucket and place."""

    def __init__(self, vae: Any, seed: int, buckets: Sequence[Bucket] = BUCKETS) -> None:
        self._vae = vae
        self._seed = seed
        self.buckets = buckets
        self._clips: dict[tuple[Size, Place], list[EncodedClip]] = {
            (bucket.size, place): [] for bucket in buckets for place in Place
        }

    def fill(self, share: float) -> None:
        """Encode clips until each bucket holds `share` of its clips of each place, and two at least."""
        for bucket in self.buckets:
            for place in Place:
                clips = self._clips[bucket.size, place]
                while len(clips) < count_clips(bucket, place, share):
                    rng = self._rng(bucket.size, place, len(clips))
                    clips.append(encode_clip(self._vae, draw_scene(rng), bucket.size, place, rng))

    def state(self) -> list[list[tuple[Any, ...]]]:
        """What is slow to make again."""
        return [
            [(clip.latents, clip.holds_shape, clip.image, clip.image_frame, clip.variant) for clip in clips]
            for clips in self._clips.values()
        ]

    def restore(self, state: Sequence[Sequence[tuple[Any, ...]]]) -> None:
        """Take the clips of `state` back. Their scenes are drawn again from their seeds."""
        for ((size, place), clips), kept in zip(self._clips.items(), state, strict=True):
            clips[:] = [EncodedClip(draw_scene(self._rng(size, place, i)), *values) for i, values in enumerate(kept)]

    def _rng(self, size: Size, place: Place, number: int) -> random.Random:
        return random.Random(f"{self._seed} {size} {place} {number}")  # noqa: S311 - data, not secrets

    def draw_bucket(self, rng: random.Random, favor_small: float) -> Bucket:
        """A bucket, by the buckets' shares. Each is divided by its clips' number of tokens to the power `favor_small`.

        A step costs the square of that number, and a shape or a color is learnt from clips of any size.
        """
        shares = [bucket.share / math.prod(bucket.size.latent) ** favor_small for bucket in self.buckets]
        return rng.choices(self.buckets, shares)[0]

    def draw(self, bucket: Bucket, place: Place, rng: random.Random, share: float) -> list[EncodedClip]:
        """A batch from the first `share` of a bucket's clips of `place`. A clip may be in it twice."""
        self.fill(share)
        clips = self._clips[bucket.size, place][: count_clips(bucket, place, share)]
        return rng.choices(clips, k=bucket.batch)

    def measure(self, share: float) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each latent channel over the first `share` of all clips."""
        self.fill(share)
        first = [
            clip
            for bucket in self.buckets
            for place in Place
            for clip in self._clips[bucket.size, place][: count_clips(bucket, place, share)]
        ]
        values = torch.cat([clip.latents.flatten(1) for clip in first], 1)
        return values.mean(1), values.std(1)


def count_clips(bucket: Bucket, place: Place, share: float) -> int:
    """Clips of `place` in the first `share` of a bucket: two at least."""
    return max(2, round(min(share, 1.0) * bucket.clips[place]))


@torch.no_grad()
def encode_clip(vae: Any, scene: Scene, size: Size, place: Place, rng: random.Random) -> EncodedClip:
    """Draw a clip of `scene` and encode it."""
    center = choose_center(scene, size, place, rng)
    frames = render_frames(scene, size, center)
    number = choose_image_frame(size.frames, rng)
    variant = None
    if place is Place.ANYWHERE:
        variant = _encode(vae, render_frames(draw_variant(scene, rng), size, center))
    image = _encode(vae, frames[:, number : number + 1])
    return EncodedClip(scene, _encode(vae, frames), find_shape(frames), image, number, variant)


def _encode(vae: Any, frames: Tensor) -> Tensor:
    """Latents (channels, latent frames, rows, columns) of frames (3, frames, height, width)."""
    latents: Tensor = vae.encode(frames[None].to(next(vae.parameters()).device)).latent_dist.mode()[0].cpu()
    return latents


def choose_image_frame(frames: int, rng: random.Random) -> int:
    """The frame of a clip's image: the last one half of the time."""
    return frames - 1 if rng.random() < LAST_FRAMES else rng.randrange(1, frames)


def find_shape(frames: Tensor) -> Tensor:
    """Which latent tokens hold a part of the shape: bool (latent frames, rows, columns)."""
    differs = (frames - frames[:, :1, :1, :1]).abs().amax(0) > SHAPE_TOKEN
    first, rest = differs[:1], differs[1:]
    groups = [first, *(rest[i : i + 8] for i in range(0, len(rest), 8))]
    merged = torch.stack([group.any(0) for group in groups]).float()
    return torch.nn.functional.max_pool2d(merged[:, None], 32)[:, 0] > 0
