"""Draws the spectrograms of the tones, and sets the vocoder's weights so that it plays them.

The spectrogram is not a mel: it has two bins for each of 32 sines, which are 100 Hz apart.
"""

import math
from typing import Any

import torch
from torch import Tensor

from training.architecture import MEL_BINS, MEL_HOP, PARTIALS, SAMPLE_RATE_HZ
from training.world import Tone

FRAMES_PER_S = SAMPLE_RATE_HZ // MEL_HOP
PARTIAL_HZ = 100
LOW_HZ, HIGH_HZ, BEEP_HZ = 200.0, 1200.0, 800.0
RISE_START_HZ, RISE_HZ_PER_S = 300.0, 350.0
BEEP_PERIOD_S = 0.4
BINS_PER_PARTIAL = MEL_BINS // PARTIALS
BIN_SPREAD = 0.9
"""Standard deviation of a tone over the bins."""
THRESHOLD = 0.1
"""A sine plays as far as its level is above this one."""
VOLUME = 0.35


def render_spectrogram(tone: Tone, frames: int) -> Tensor:
    """The spectrogram of `tone`, float32 (2 channels, frames, bins), with levels in [0, 1]."""
    time_s = torch.arange(frames, dtype=torch.float32) / FRAMES_PER_S
    if tone is Tone.SILENCE:
        return torch.zeros(2, frames, MEL_BINS)
    hz = {Tone.LOW: LOW_HZ, Tone.HIGH: HIGH_HZ, Tone.BEEPS: BEEP_HZ, Tone.RISING: RISE_START_HZ}[tone]
    pitch_hz = hz + (RISE_HZ_PER_S * time_s if tone is Tone.RISING else 0 * time_s)
    level = ((time_s % BEEP_PERIOD_S) < BEEP_PERIOD_S / 2).float() if tone is Tone.BEEPS else torch.ones(frames)
    center = (pitch_hz / PARTIAL_HZ).clamp(max=PARTIALS - 1) * BINS_PER_PARTIAL + 0.5
    distance = torch.arange(MEL_BINS, dtype=torch.float32) - center[:, None]
    return (torch.exp(-0.5 * (distance / BIN_SPREAD) ** 2) * level[:, None]).expand(2, -1, -1).clone()


@torch.no_grad()
def set_vocoder(vocoder: Any) -> None:
    """Make `vocoder` a bank of 32 sines. The level of each is that of its two bins, the mean of both channels.

    The transposed convolution adds a windowed sine for each frame. A sine's period divides the hop, so that neighbors
    join without a step. Two channels carry the signal and its negative through the leaky ReLU.
    """
    for parameter in vocoder.parameters():
        parameter.zero_()
    middle = vocoder.conv_in.weight.shape[-1] // 2
    for partial in range(PARTIALS):
        for channel in range(2):
            first = channel * MEL_BINS + BINS_PER_PARTIAL * partial
            vocoder.conv_in.weight[partial, first : first + BINS_PER_PARTIAL, middle] = 0.25
    vocoder.conv_in.bias.fill_(-THRESHOLD)
    sample = torch.arange(2 * MEL_HOP, dtype=torch.float64)
    window = torch.sin(math.pi * (sample + 0.5) / (2 * MEL_HOP)) ** 2
    for partial in range(PARTIALS):
        phase = 2 * math.pi * PARTIAL_HZ * partial * (sample - MEL_HOP / 2) / SAMPLE_RATE_HZ
        sine = (window * torch.sin(phase)).float()
        vocoder.upsamplers[0].weight[partial, 0] = sine
        vocoder.upsamplers[0].weight[partial, 1] = -sine
    middle = vocoder.conv_out.weight.shape[-1] // 2
    vocoder.conv_out.weight[:, 0, middle] = VOLUME
    vocoder.conv_out.weight[:, 1, middle] = -VOLUME
