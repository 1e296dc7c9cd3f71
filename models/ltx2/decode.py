"""The second half of a render: converts latents to frames and audio."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from models.memory import offload
from models.memory.estimate import CUDA_BYTES, decode_bytes
from models.memory.gpu import clear_traceback_frames, collect_and_empty_cache, is_out_of_memory
from models.request.request import VideoRequest
from models.yuv import to_planes

if TYPE_CHECKING:
    import torch

MAX_TILE = 16
"""Maximum side of a tile, in latents: 512 pixels."""
OVERLAP = 2
"""Latents over which a tile is blended into the next: 64 pixels."""


@dataclass(frozen=True)
class Tile:
    """The tiles along one side, in latents: their length and their stride."""

    length: int
    stride: int

    def starts(self, side: int) -> range:
        """The start positions of tiles along a side of `side` latents, as diffusers computes them."""
        return range(0, side, self.stride)


def choose_tile(side: int) -> Tile:
    """Tiles for a side of `side` latents: one if it fits, otherwise the smallest number of equal strides."""
    if side <= MAX_TILE:
        return Tile(side, side)
    count = -(-side // (MAX_TILE - OVERLAP))
    stride = -(-side // count)
    return Tile(stride + OVERLAP, stride)


def use_tiles(vae: Any, height: int, width: int) -> None:
    """Switch on tiled decoding in `vae`, with tiles for videos of `height` by `width` pixels."""
    ratio = vae.spatial_compression_ratio
    down, across = choose_tile(height // ratio), choose_tile(width // ratio)
    vae.enable_tiling(
        tile_sample_min_height=down.length * ratio,
        tile_sample_min_width=across.length * ratio,
        tile_sample_stride_height=down.stride * ratio,
        tile_sample_stride_width=across.stride * ratio,
    )


FRAMES_AT_ONCE = 8
"""Frames that are converted to bytes together. Bounds the size of their float copy."""


Frames = npt.NDArray[np.uint8]
AudioTensor = npt.NDArray[np.float32]
Decoded = TypeVar("Decoded")


def decode_frames(
    vae: Any, latents: "torch.Tensor", request: VideoRequest, *, on_gpu: bool, as_planes: bool = False
) -> tuple[Frames, bool]:
    """Decode video latents to `request.num_frames` frames: RGB (T, H, W, 3), or planes (see models/yuv.py).

    Tiles are used only if the whole video does not fit on the GPU, or after it ran out of memory: seams can be visible.
    The second value is true in the latter case. Tiling is switched off afterwards, because it would also apply to the
    encoding of an input image.
    """

    def whole() -> Frames:
        return _decode(vae, latents, request, as_planes)

    def in_tiles() -> Frames:
        use_tiles(vae, request.height, request.width)
        return whole()

    try:
        if on_gpu and needs_tiles(request):
            return in_tiles(), False
        return _retry_decode(whole, in_tiles)
    finally:
        vae.disable_tiling()


def decode_audio_or_retry(pipe: Any, latents: "torch.Tensor", request: VideoRequest) -> tuple[AudioTensor, bool]:
    """Decode the audio; also return whether the first try ran out of memory.

    The second try may succeed because memory that the frames used is free then.
    """

    def decode() -> AudioTensor:
        return decode_audio(pipe, latents, request)

    return _retry_decode(decode, decode)


def _retry_decode(first: Callable[[], Decoded], second: Callable[[], Decoded]) -> tuple[Decoded, bool]:
    """Return the result of `first`, or of `second` if memory runs out, and whether `second` ran.

    All memory that `first` held is freed before `second` runs.
    """
    try:
        return first(), False
    except Exception as exc:
        if not is_out_of_memory(exc):
            raise
        clear_traceback_frames(exc)
    collect_and_empty_cache()
    return second(), True


def needs_tiles(request: VideoRequest) -> bool:
    """Whether decoding the whole video, with the memory of CUDA's kernels, needs more memory than the GPU has free."""
    needed = decode_bytes(request.height, request.width, request.num_rendered_frames) + CUDA_BYTES
    return needed > offload.usable_vram_bytes()


def _decode(vae: Any, latents: "torch.Tensor", request: VideoRequest, as_planes: bool) -> Frames:
    import torch

    timestep = latents.new_zeros(1, dtype=vae.dtype) if vae.config.timestep_conditioning else None
    with torch.no_grad():
        video = vae.decode(latents.to(vae.dtype), timestep, return_dict=False)[0]
        return (to_planes if as_planes else to_bytes)(video[0], request.num_frames)


def decode_audio(pipe: Any, latents: "torch.Tensor", request: VideoRequest) -> AudioTensor:
    """Decode audio latents to a waveform, float32 (channels, samples), cut at the end of the video."""
    import torch

    with torch.no_grad():
        spectrogram = pipe.audio_vae.decode(latents.to(pipe.audio_vae.dtype), return_dict=False)[0]
        wave = pipe.vocoder(spectrogram.to(pipe.vocoder.dtype))[0]
    samples = math.floor(request.num_frames / request.exact_frame_rate * sample_rate_hz(pipe))
    audio: AudioTensor = wave[:, :samples].float().clamp(-1, 1).cpu().contiguous().numpy()
    return audio


def sample_rate_hz(pipe: Any) -> int:
    """The sample rate of the audio that `pipe` makes."""
    return int(pipe.vocoder.config.output_sampling_rate)


def to_bytes(video: "torch.Tensor", num_frames: int) -> Frames:
    """Convert a float video in [-1, 1], (3, T, H, W), to its first `num_frames` frames, uint8 (T, H, W, 3).

    Converts a few frames at a time on the video's device, so that only bytes are copied to the host.
    """
    import torch

    _, _, height, width = video.shape
    frames = torch.empty((num_frames, height, width, 3), dtype=torch.uint8)
    for start in range(0, num_frames, FRAMES_AT_ONCE):
        stop = min(start + FRAMES_AT_ONCE, num_frames)
        part = video[:, start:stop].float().mul(0.5).add_(0.5).clamp_(0, 1).mul_(255).round_()
        frames[start:stop] = part.to(torch.uint8).permute(1, 2, 3, 0)
    array: Frames = frames.numpy()
    return array
