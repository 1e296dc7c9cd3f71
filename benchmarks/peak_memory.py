"""Counts a render's memory beside the weights, at LTX-2's full size without a GPU, and compares it with the estimate.

    python -m benchmarks.peak_memory [--family 2.0]

For each request, the table has the peak of live tensors during text encoding, denoising, decoding, encoding a clip
(both whole and in tiles), and doubling latents, beside the estimate of models/memory/estimate.py. The transformer has
only two of its blocks: each block reuses the memory that the previous one freed. The cache of `text_kv_cache` in every
block is not included.
The memory that CUDA and its allocator add can only be measured.
"""

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from diffusers import LTX2ImageToVideoPipeline
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel
from PIL import Image
from torch import Tensor

from benchmarks.full_size import FULL_SIZE, draw, draw_components, draw_text_encoder, pipeline
from benchmarks.live_bytes import LiveBytes, TrueScheduler
from models.checkpoint.profile import NO_GUIDANCE, Family, choose_profile
from models.conditions import GivenTokens
from models.ltx2.decode import use_tiles
from models.ltx2.denoise import denoise
from models.memory.estimate import (
    GB,
    decode_bytes,
    denoise_bytes,
    encode_bytes,
    text_bytes,
    tiled_decode_bytes,
    tiled_encode_bytes,
    upscale_bytes,
)
from models.request.request import VideoRequest

BLOCKS = 2
STEPS = 2


@dataclass(frozen=True)
class Case:
    """A request, and whether it starts from an image."""

    request: VideoRequest
    from_image: bool = False


@dataclass(frozen=True)
class Counted:
    """Peak bytes of live tensors beside the weights, for each part of a render."""

    text: int
    denoise: int
    whole: int
    tiled: int
    encode: int
    encode_tiled: int
    upscale: int


def cases() -> Iterator[Case]:
    """Small, usual, long and large requests, from text and from an image, guided or not."""
    for height, width, num_frames in ((256, 384, 25), (512, 768, 121), (512, 768, 481), (1088, 1920, 121)):
        for more in ({}, NO_GUIDANCE):
            size = {"height": height, "width": width, "num_frames": num_frames, "num_inference_steps": STEPS}
            request = VideoRequest(prompt="a cat", seed=1, **size, **more)
            yield from (Case(request), Case(request, from_image=True))


class Counter:
    """A model of one family at full width, with shapes instead of tensors."""

    def __init__(self, family: Family) -> None:
        configs = FULL_SIZE[family]
        self._profile = replace(choose_profile(configs["transformer"]), stg_blocks=(BLOCKS - 1,))
        short = {**configs, "transformer": {**configs["transformer"], "num_layers": BLOCKS}}
        self._live = LiveBytes()
        with self._live.counting():
            text_encoder = draw_text_encoder("cpu", fill=False)
            self._upsampler = draw(LTX2LatentUpsamplerModel, "cpu", {}, fill=False)
            self._pipe = pipeline(draw_components(short, "cpu", fill=False), text_encoder, TrueScheduler)
        self._from_image = LTX2ImageToVideoPipeline(**self._pipe.components)
        for pipe in (self._pipe, self._from_image):
            pipe.set_progress_bar_config(disable=True)
        self._peaks: list[int] = []

    def count(self, case: Case) -> Counted:
        """Count a render of `case`."""
        request = case.request
        self._peaks, weights = [], self._live.live_bytes
        self._live.forget_peak()
        image = {"image": Image.new("RGB", (request.width, request.height))} if case.from_image else {}
        text = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
        pipe = self._from_image if case.from_image else self._pipe
        with self._live.counting(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about images with values below 0: a shape has no values
            video = denoise(pipe, self._profile, request, {**text, **image}, lambda _progress: self._note()).video
            for stage in (partial(self._decode, video), partial(self._encode, request)):
                self._pipe.vae.disable_tiling()
                stage()
                use_tiles(self._pipe.vae, request.height, request.width)
                stage()
            self._pipe.vae.disable_tiling()
            self._upscale(request)
        text_, *steps, whole, tiled, encode, encode_tiled, upscale = (peak - weights for peak in self._peaks)
        return Counted(text_, max(steps), whole, tiled, encode, encode_tiled, upscale)

    def _decode(self, video: Tensor) -> None:
        self._live.forget_peak()
        self._pipe.vae.decode(video.to(self._pipe.vae.dtype), None, return_dict=False)
        self._note()

    def _encode(self, request: VideoRequest) -> None:
        self._live.forget_peak()
        vae = self._pipe.vae
        vae.encode(torch.empty(1, 3, request.num_rendered_frames, request.height, request.width, dtype=vae.dtype))
        self._note()

    def _upscale(self, request: VideoRequest) -> None:
        """Double the latents of a first stage up to the size of the request."""
        self._live.forget_peak()
        frames, (height, width) = request.num_rendered_frames // 8 + 1, (request.height // 64, request.width // 64)
        self._upsampler(torch.empty(1, 128, frames, height, width, dtype=self._upsampler.dtype))
        self._note()

    def _note(self) -> None:
        self._peaks.append(self._live.peak_bytes)
        self._live.forget_peak()


def told(case: Case) -> Counted:
    """The same figures from the formulas that decide whether a request fits."""
    request = case.request
    size = (request.height, request.width, request.num_frames)
    return Counted(
        text_bytes(request),
        denoise_bytes(request, GivenTokens(own_timesteps=case.from_image)),
        decode_bytes(*size),
        tiled_decode_bytes(*size),
        encode_bytes(*size),
        tiled_encode_bytes(*size),
        upscale_bytes(request),
    )


def rows(family: Family) -> Iterator[tuple[Case, Counted, Counted]]:
    """Each case, its counted and its estimated figures."""
    counter = Counter(family)
    for case in cases():
        yield case, counter.count(case), told(case)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", type=Family, choices=list(Family))
    asked = parser.parse_args()
    parts = [field.name for field in fields(Counted)]
    print(f"{'GB, counted/told':<40}" + "".join(f"{part:>14}" for part in parts))
    for family in [asked.family] if asked.family else Family:
        for case, counted, by_formula in rows(family):
            request = case.request
            kind = (
                f"{'image' if case.from_image else 'text'}, {'guided' if request.cfg_scale_video > 1 else 'unguided'}"
            )
            name = f"{family} {request.height}x{request.width}x{request.num_frames} {kind}"
            pairs = ((getattr(counted, part) / GB, getattr(by_formula, part) / GB) for part in parts)
            print(f"{name:<40}" + "".join(f"{count:7.2f}/{tell:<6.2f}" for count, tell in pairs), flush=True)


if __name__ == "__main__":
    main()
