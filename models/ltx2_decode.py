"""The second half of a render: latents in, frames and sound out."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models import offload
from models.estimate import decode_bytes
from models.memory import free_reserve
from models.request import VideoRequest
from models.tiling import use_tiles
from models.yuv import to_planes

if TYPE_CHECKING:
    import torch

FRAMES_AT_ONCE = 8
"""Frames that are turned into bytes together: bounds the float copy of them."""


def choose_tiling(vae: Any, request: VideoRequest) -> None:
    """Decode in tiles only where the whole does not fit on the GPU: seams can show."""
    free_reserve()
    needed = decode_bytes(request.height, request.width, request.num_rendered_frames)
    if needed > offload.free_vram_bytes():
        use_tiles(vae, request.height, request.width)
    else:
        vae.disable_tiling()


def decode_frames(
    vae: Any, latents: "torch.Tensor", request: VideoRequest, *, as_planes: bool = False
) -> npt.NDArray[np.uint8]:
    """Picture latents to frames, as many as were asked for: RGB (T, H, W, 3), or planes (see models/yuv)."""
    import torch

    timestep = latents.new_zeros(1, dtype=vae.dtype) if vae.config.timestep_conditioning else None
    with torch.no_grad():
        video = vae.decode(latents.to(vae.dtype), timestep, return_dict=False)[0]
        return (to_planes if as_planes else to_bytes)(video[0], request.num_frames)


def decode_sound(pipe: Any, latents: "torch.Tensor", request: VideoRequest) -> npt.NDArray[np.float32]:
    """Sound latents to a waveform, float32 (channels, samples), cut where the picture ends."""
    import torch

    with torch.no_grad():
        spectrogram = pipe.audio_vae.decode(latents.to(pipe.audio_vae.dtype), return_dict=False)[0]
        wave = pipe.vocoder(spectrogram)[0]
    samples = math.floor(request.num_frames / request.exact_frame_rate * sample_rate_hz(pipe))
    sound: npt.NDArray[np.float32] = wave[:, :samples].float().clamp(-1, 1).cpu().contiguous().numpy()
    return sound


def sample_rate_hz(pipe: Any) -> int:
    """The rate of the sound that `pipe` makes."""
    return int(pipe.vocoder.config.output_sampling_rate)


def to_bytes(video: "torch.Tensor", num_frames: int) -> npt.NDArray[np.uint8]:
    """A video of floats in [-1, 1], (3, T, H, W), to its first frames, uint8 (T, H, W, 3).

    A few frames at a time, and on the device: only bytes cross to the host.
    """
    import torch

    _, _, height, width = video.shape
    frames = torch.empty((num_frames, height, width, 3), dtype=torch.uint8)
    for start in range(0, num_frames, FRAMES_AT_ONCE):
        stop = min(start + FRAMES_AT_ONCE, num_frames)
        part = video[:, start:stop].float().mul(0.5).add_(0.5).clamp_(0, 1).mul_(255).round_()
        frames[start:stop] = part.to(torch.uint8).permute(1, 2, 3, 0)
    array: npt.NDArray[np.uint8] = frames.numpy()
    return array
