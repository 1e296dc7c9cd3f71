"""Second stage: the audio VAE, on the spectrograms of the tones."""

import math
import random
from typing import Any

import torch
from torch import Tensor

from training.architecture import AUDIO_COMPRESSION, build_audio_vae
from training.optimizer import Trained
from training.tones import render_spectrogram
from training.world import Tone

LEARNING_RATE = 4e-3
BATCH = 6
LATENT_FRAMES = (6, 16)
SHIFTED = 0.3
"""Share of spectrograms that are moved in pitch and made quieter, so that more than five are seen."""
KL_WEIGHT = 3e-4
LONGEST_LATENT_FRAMES = 260
"""Of the tones' latents that are kept: ten seconds."""
MIN_STD = 0.15


def create(device: str) -> Trained:
    """The VAE with random weights and its optimizer."""
    return Trained(build_audio_vae().to(device), LEARNING_RATE)


def train_step(trained: Trained, rng: random.Random, device: str, steps: int) -> dict[str, float]:
    """Do one step of `steps`. Returns the mean absolute error of the levels."""
    frames = count_frames(rng.randint(*LATENT_FRAMES))
    levels = torch.stack([_draw_spectrogram(frames, rng) for _ in range(BATCH)]).to(device)
    latents = trained.network.encode(levels).latent_dist  # type: ignore[operator]
    mean, logvar = latents.mean, latents.logvar
    noisy = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape).to(device)
    error = trained.network.decode(noisy).sample - levels  # type: ignore[operator]
    kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
    loss = error.abs().mean() + 5 * error.pow(2).mean() + KL_WEIGHT * kl
    trained.update(loss, 0.51 + 0.5 * math.cos(math.pi * trained.step / steps))
    return {"error": error.abs().mean().item()}


def _draw_spectrogram(frames: int, rng: random.Random) -> Tensor:
    levels = render_spectrogram(rng.choice(list(Tone)), frames)
    if rng.random() < SHIFTED:
        levels = torch.roll(levels, rng.randint(-20, 20), 2) * rng.uniform(0.3, 1)
    return levels


def count_frames(latent_frames: int) -> int:
    """Frames of the spectrogram that `latent_frames` hold. The first latent frame holds one."""
    return AUDIO_COMPRESSION * (latent_frames - 1) + 1


@torch.no_grad()
def encode_tones(vae: Any) -> dict[Tone, Tensor]:
    """Set the VAE's latent statistics, and return each tone's normalized tokens (latent frames, channels)."""
    device = next(vae.parameters()).device
    frames = count_frames(LONGEST_LATENT_FRAMES)
    levels = torch.stack([render_spectrogram(tone, frames) for tone in Tone]).to(device)
    tokens = vae.encode(levels).latent_dist.mode().transpose(1, 2).flatten(2)
    vae.latents_mean.copy_(tokens.mean((0, 1)))
    vae.latents_std.copy_(tokens.std((0, 1)).clamp(min=MIN_STD))
    normalized = (tokens - vae.latents_mean) / vae.latents_std
    return dict(zip(Tone, normalized, strict=True))
