"""Encodes what is given, audio and frames, into latents as the VAEs have them."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.conditions import ClipCondition
from models.ltx2.decode import use_tiles
from models.memory import offload
from models.memory.estimate import CUDA_BYTES, encode_bytes
from models.waveform import Waveform
from models.yuv import planes_to_float

if TYPE_CHECKING:
    from torch import Tensor

FFT_SIZE = 1024
FLOOR = 1e-5
"""The smallest magnitude of a mel band, before its logarithm."""
FRAMES_AT_ONCE = 8


def log_mel(samples: "Tensor", sample_rate_hz: int, hop: int, bins: int) -> "Tensor":
    """The spectrogram that the audio VAE was trained on: samples (channels, n) to (channels, n / hop + 1, bins).

    Source: Lightricks' ltx_core (model/audio_vae/ops.py): magnitudes, Slaney's bands from 0 to half the sample rate.
    """
    import torch
    from transformers.audio_utils import mel_filter_bank

    spectrum = torch.stft(
        samples,
        FFT_SIZE,
        hop,
        FFT_SIZE,
        torch.hann_window(FFT_SIZE),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    ).abs()
    bands = mel_filter_bank(
        FFT_SIZE // 2 + 1, bins, 0.0, sample_rate_hz / 2, sample_rate_hz, norm="slaney", mel_scale="slaney"
    )
    mel = torch.einsum("cft,fm->ctm", spectrum, torch.from_numpy(bands).float())
    return mel.clamp(min=FLOOR).log()


def encode_audio(pipe: Any, waveform: Waveform, num_latents: int, device: Any) -> "Tensor":
    """The latents (1, C, num_latents, M) of audio, with silence after its end."""
    import torch

    rate, hop, bins = pipe.audio_sampling_rate, pipe.audio_hop_length, pipe.audio_mel_bins
    needed = num_latents * pipe.audio_vae_temporal_compression_ratio * hop
    whole = waveform.resampled(rate).stereo().placed(Fraction(0), Fraction(needed, rate))
    mel = log_mel(torch.from_numpy(whole.samples), rate, hop, bins)
    latents: Tensor = pipe.audio_vae.encode(mel[None].to(device, pipe.audio_vae.dtype)).latent_dist.mode()
    return latents[:, :, :num_latents]


def encode_clip(vae: Any, given: ClipCondition, num_frames: int, device: Any) -> "Tensor":
    """The latents (1, C, T, H, W) of a source, in the render of `num_frames` frames, which is 8k+1.

    Its first and last frames are repeated where the render goes on. So the frame before each latent of the source is
    the one that the causal encoder expects there.
    """
    return encode_frames(vae, given.frames, np.arange(num_frames) - given.edit.source_at, device)


def encode_frames(vae: Any, frames: npt.NDArray[np.uint8], index: npt.NDArray[np.int_], device: Any) -> "Tensor":
    """The latents (1, C, T, H, W) of some of the frames, which are planes: those that `index`, of 8k+1 numbers, names.

    A number outside the frames means the nearest one.
    """
    import torch

    index, num_frames = np.clip(index, 0, len(frames) - 1), len(index)
    height, width = frames.shape[1] * 2 // 3, frames.shape[2]
    pixels = torch.empty((1, 3, num_frames, height, width), dtype=vae.dtype, device=device)
    for start in range(0, num_frames, FRAMES_AT_ONCE):
        part = np.ascontiguousarray(frames[index[start : start + FRAMES_AT_ONCE]])
        pixels[0, :, start : start + len(part)] = planes_to_float(torch.from_numpy(part).to(device))
    return _encode(vae, pixels)


def needs_tiles(pixels: "Tensor") -> bool:
    """Whether encoding all of `pixels` (1, 3, T, H, W) at once needs more memory than the GPU has free."""
    _, _, num_frames, height, width = pixels.shape
    needed = encode_bytes(height, width, num_frames) + CUDA_BYTES
    return pixels.device.type == "cuda" and needed > offload.usable_vram_bytes()


def _encode(vae: Any, pixels: "Tensor") -> "Tensor":
    """In tiles, if the whole does not fit on the GPU. Tiling is off afterwards."""
    if needs_tiles(pixels):
        use_tiles(vae, *pixels.shape[-2:])
    try:
        latents: Tensor = vae.encode(pixels).latent_dist.mode()
        return latents
    finally:
        vae.disable_tiling()
