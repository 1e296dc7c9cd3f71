"""First stage: the video VAE, on crops of random scenes."""

import math
import random

import torch
from torch import Tensor, nn

from training.architecture import build_video_vae
from training.optimizer import Trained
from training.world import (
    DIRECTIONS,
    SPEED_PX,
    TOKEN_PX,
    Size,
    draw_scene,
    render_frames,
)

LEARNING_RATE = 4e-3
WARM_UP_STEPS = 30
CROPS = ((Size(128, 128, 9), 6), (Size(128, 128, 17), 3), (Size(128, 128, 17), 3), (Size(128, 128, 25), 2))
"""Sizes of crops, and crops in a batch."""
CONVOLUTION_NDIM = 5
"""Dimensions of a convolution's weights: outputs, inputs, frames, rows, columns."""
MOVING_WEIGHT = 4.0
"""Weight of pixels that change in the clip."""
KL_WEIGHT = 1e-3
START_FRAMES = tuple(range(0, 113, 8))
"""A crop begins at one of these frames of its scene."""


def create(device: str) -> Trained:
    """The VAE with random weights and its optimizer."""
    vae = build_video_vae()
    forget_earlier_frames(vae)
    return Trained(vae.to(device, memory_format=torch.channels_last_3d), LEARNING_RATE)


@torch.no_grad()
def forget_earlier_frames(vae: nn.Module) -> None:
    """Make every causal convolution read the current frame alone, with the sum of its weights over time.

    Still frames give the same result as before. With random weights for all three frames the VAE first learns to
    average over time, and after 900 steps it still drew a moving shape where it was in the first frame.
    """
    for weight in vae.parameters():
        if weight.ndim == CONVOLUTION_NDIM:
            weight[:, :, -1] = weight.sum(2)
            weight[:, :, :-1] = 0


def train_step(trained: Trained, rng: random.Random, device: str, steps: int) -> dict[str, float]:
    """Do one step of `steps`. Returns the PSNR of the batch in dB and the KL divergence."""
    size, count = rng.choice(CROPS)
    clips = torch.stack([draw_crop(size, rng) for _ in range(count)])
    clips = clips.to(device).contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(device, dtype=torch.bfloat16):
        latents = trained.network.encode(clips).latent_dist  # type: ignore[operator]
        mean, logvar = latents.mean.float(), latents.logvar.float()
        noisy = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape).to(device)
        decoded = trained.network.decode(noisy).sample  # type: ignore[operator]
    error = decoded.float() - clips
    kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
    squared = error.pow(2).mean()
    loss = (error.abs() * _moving_weight(clips)).mean() + 2 * squared + KL_WEIGHT * kl
    warm_up = min(1.0, (trained.step + 1) / WARM_UP_STEPS)
    trained.update(loss, warm_up * (0.51 + 0.5 * math.cos(math.pi * trained.step / steps)))
    return {"psnr": 10 * math.log10(4 / squared.item()), "kl": kl.item()}


def draw_crop(size: Size, rng: random.Random) -> Tensor:
    """A crop of a random scene, most often with an edge of the shape in it."""
    scene = draw_scene(rng)
    dx, dy = DIRECTIONS.get(scene.motion, (0, 0))
    first = rng.choice(START_FRAMES) if (dx or dy) else rng.choice(START_FRAMES[:4])
    path_px = SPEED_PX * (first + (size.frames - 1) / 2)
    tokens = size.height // TOKEN_PX
    x, y = (TOKEN_PX * rng.randint(-1, tokens + 1) for _ in range(2))
    center = (x - dx * TOKEN_PX * round(path_px / TOKEN_PX), y - dy * TOKEN_PX * round(path_px / TOKEN_PX))
    whole = Size(size.height, size.width, first + size.frames)
    return render_frames(scene, whole, center)[:, first:]


def _moving_weight(clips: Tensor) -> Tensor:
    """Weight of every pixel: more for those that change."""
    moves = (clips - clips[:, :, :1]).abs().amax((1, 2), keepdim=True) > 0.05  # noqa: PLR2004 - of a range of 2
    return 1 + (MOVING_WEIGHT - 1) * moves.float()
