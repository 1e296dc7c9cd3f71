"""What comes after the steps and between tasks: the decoder, the frames' way to host memory, the weights' way there."""

from typing import Any

import torch

from benchmarks.gpu.measure import GB, Shape, decode, timed
from benchmarks.gpu.subject import Subject
from models.ltx2_decode import to_bytes
from models.tiling import use_tiles
from models.transfer import to_device, to_host, weights_of
from models.yuv import to_planes


def measure_decoding(subject: Subject, shape: Shape, latents: torch.Tensor) -> dict[str, dict[str, float]]:
    """The decoder, whole and in tiles. The first run warms up."""
    vae = subject.pipe.vae
    vae.disable_tiling()
    decode(subject, latents)
    whole = decode(subject, latents)
    use_tiles(vae, shape.height, shape.width)
    tiled = decode(subject, latents)
    vae.disable_tiling()
    return {
        name: dict(zip(("seconds", "peak_gb"), got, strict=True)) for name, got in (("whole", whole), ("tiled", tiled))
    }


def measure_frames(subject: Subject, shape: Shape) -> dict[str, dict[str, float]]:
    """From the decoder's floats to bytes in host memory: as planes of YUV 4:2:0, and as RGB."""
    size = (3, shape.num_frames, shape.height, shape.width)
    video = torch.rand(size, dtype=subject.pipe.vae.dtype, device=subject.device) * 2 - 1
    ways: dict[str, Any] = {"yuv": to_planes, "rgb": to_bytes}
    found = {}
    for name, way in ways.items():
        made = way(video, shape.num_frames)
        seconds = timed(lambda way=way: way(video, shape.num_frames), subject.device)
        found[name] = {"seconds": seconds, "gb": made.nbytes / GB}
    return found


def measure_moves(subject: Subject) -> dict[str, dict[str, float]]:
    """The transformer's weights to host memory and back: what a sleep and a wake take."""
    device = subject.pipe.transformer.device
    weights = weights_of([subject.pipe.transformer])
    gb = sum(weight.nbytes for weight in weights) / GB
    away = timed(lambda: to_host(weights, lambda: False), subject.device)
    back = timed(lambda: to_device(weights, device), subject.device)
    return {name: {"seconds": seconds, "gb_s": gb / seconds} for name, seconds in (("sleep", away), ("wake", back))}
