"""Measures what follows the steps, and sleep mode: the decoder, frames to host memory, weights to host memory."""

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.gpu.measure import GB, Shape, decode, timed
from benchmarks.gpu.model_under_test import Subject
from benchmarks.gpu.table_rows import Row, tried
from models.ltx2.decode import to_bytes, use_tiles
from models.memory.transfer import to_device, to_host, weights_of
from models.yuv import to_planes


def measure_decoding(subject: Subject, shape: Shape, latents: torch.Tensor) -> Iterator[Row]:
    """The decoder: whole, in tiles, and with cuDNN's benchmark mode. The first run of each is a warm-up."""
    vae = subject.pipe.vae
    vae.disable_tiling()
    yield tried({"way": "whole"}, lambda: _decode_warm(subject, latents))
    use_tiles(vae, shape.height, shape.width)
    yield tried({"way": "tiled"}, lambda: _decode_warm(subject, latents))
    vae.disable_tiling()
    torch.backends.cudnn.benchmark = True
    yield tried({"way": "cudnn.benchmark"}, lambda: _decode_warm(subject, latents))
    vae.to(memory_format=torch.channels_last_3d)
    yield tried({"way": "and channels last"}, lambda: _decode_warm(subject, latents))
    torch.backends.cudnn.benchmark = False
    vae.to(memory_format=torch.contiguous_format)


def _decode_warm(subject: Subject, latents: torch.Tensor) -> Row:
    decode(subject, latents)
    return decode(subject, latents)


def measure_audio(subject: Subject, latents: torch.Tensor) -> Iterator[Row]:
    """The vocoder as loaded, in float32 and in bfloat16: seconds, and the difference of the audio to float32's."""
    pipe = subject.pipe
    with torch.no_grad():
        spectrogram = pipe.audio_vae.decode(latents.to(pipe.audio_vae.dtype), return_dict=False)[0]
    exact = _vocoder(pipe.vocoder, torch.float32, subject.device)
    with torch.no_grad():
        reference = exact(spectrogram.float())[0]
    ways = {"as loaded": pipe.vocoder, "float32": exact}
    if subject.device == "cuda":
        ways["bfloat16"] = _vocoder(pipe.vocoder, torch.bfloat16, subject.device)
    for name, vocoder in ways.items():
        yield tried({"vocoder": name}, lambda vocoder=vocoder: _sing(vocoder, spectrogram, reference, subject.device))


def _vocoder(loaded: Any, dtype: torch.dtype, device: str) -> Any:
    """Another vocoder with the same weights, built in float32: values that it computes when built are then exact."""
    vocoder = type(loaded).from_config(loaded.config)
    vocoder.load_state_dict({name: weight.float() for name, weight in loaded.state_dict().items()})
    return vocoder.eval().to(device, dtype)


def _sing(vocoder: Any, spectrogram: torch.Tensor, reference: torch.Tensor, device: str) -> Row:
    given = spectrogram.to(next(vocoder.parameters()).dtype)
    with torch.no_grad():
        audio = vocoder(given)[0]
        seconds = timed(lambda: vocoder(given), device)
    apart = float((audio.float() - reference).norm() / reference.norm())
    return {"dtype": str(given.dtype), "seconds": seconds, "difference": apart}


def measure_frames(subject: Subject, shape: Shape) -> dict[str, dict[str, float]]:
    """From the decoder's floats to bytes in host memory: as YUV 4:2:0 planes, and as RGB."""
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
    """The transformer's weights to host memory and back, twice. The first sleep includes pinning the memory."""
    device = subject.pipe.transformer.device
    weights = weights_of([subject.pipe.transformer])
    gb = sum(weight.nbytes for weight in weights) / GB
    found = {}
    for again in ("", " again"):
        away = timed(lambda: to_host(weights, lambda: False), subject.device)
        back = timed(lambda: to_device(weights, device), subject.device)
        for name, seconds in (("sleep", away), ("wake", back)):
            found[name + again] = {"seconds": seconds, "gb_s": gb / seconds}
    return found
