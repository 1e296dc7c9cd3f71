"""Draws what a batch gives beside the prompts, so that the model learns images, clips and audio as conditions."""

import random
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from training.world import Place


class Kind(StrEnum):
    """What is given of the clips in a batch."""

    NOTHING = "nothing"
    FIRST = "first"
    """The first frame, as an image."""
    IMAGE = "image"
    """An image for a later frame, as appended tokens. Half of the time the first frame too."""
    WINDOW = "window"
    """All but some latent frames in a row, as in a retake or an extend. Most of the time the audio around them too. At
    times what is around shows another shape, color or background than the prompt."""
    AUDIO = "audio"
    """The whole audio."""
    VIDEO = "video"
    """All frames."""


SHARES = {Kind.NOTHING: 0.56, Kind.FIRST: 0.1, Kind.IMAGE: 0.16, Kind.WINDOW: 0.11, Kind.AUDIO: 0.04, Kind.VIDEO: 0.03}
AUDIO_AROUND = 0.7
"""Share of windows around which the audio is given too."""
VARIANT_AROUND = 0.4
"""Share of windows around which the frames differ from the prompt. Without them, what is around outweighs a prompt."""


@dataclass(frozen=True)
class Given:
    """Which latent frames (frames,) and audio tokens (tokens,) are given, as 0 or 1, and whether an image is appended.

    With `variant` the given frames are those of a clip that differs from the prompt.
    Where one modality is given whole, its noise level is 0 for the other one too.
    """

    frames: Tensor
    audio: Tensor
    image: bool
    variant: bool = False

    @property
    def place(self) -> Place:
        """Where the shapes of the batch may be: what is given shows where they are."""
        return Place.ANYWHERE if self.image or bool(self.frames.any()) else Place.MIDDLE


def draw_given(frames: int, audio_tokens: int, rng: random.Random) -> Given:
    """Draw what is given of clips with this many latent frames and audio tokens."""
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    video, audio = torch.zeros(frames), torch.zeros(audio_tokens)
    variant = False
    if kind is Kind.FIRST or (kind is Kind.IMAGE and rng.random() < 1 / 2):
        video[0] = float(frames > 1)
    if kind is Kind.WINDOW:
        start, end = sorted(rng.sample(range(frames + 1), 2))
        _give_around(video, start, end)
        variant = bool(video.any()) and rng.random() < VARIANT_AROUND
        if rng.random() < AUDIO_AROUND:
            _give_around(audio, start * audio_tokens // frames, end * audio_tokens // frames)
    if kind is Kind.AUDIO:
        audio[:] = 1
    if kind is Kind.VIDEO:
        video[:] = 1
    return Given(video, audio, kind is Kind.IMAGE and frames > 1, variant)


def _give_around(tokens: Tensor, start: int, end: int) -> None:
    tokens[:start] = tokens[end:] = 1
