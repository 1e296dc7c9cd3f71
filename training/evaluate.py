"""Renders held-out prompts as the server does, and counts what the analyser finds right.

    python -m training.evaluate CHECKPOINT [--prompts 100] [--steps 20] [--height 256] [--width 384] [--frames 25]
                                           [--unguided]

Prints one JSON object: the share that is right for each attribute, and the PSNR of the video VAE.
"""

import argparse
import json
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from models.checkpoint.profile import NO_GUIDANCE
from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.progress import Progress
from models.request.request import VideoRequest
from training.analyser import Seen, analyze
from training.prompts import describe
from training.world import (
    FRAME_RATE,
    Motion,
    Place,
    Scene,
    Shape,
    Size,
    Tone,
    choose_center,
    draw_scene,
    render_frames,
)

HELD_OUT_SEED = 77
ATTRIBUTES = ("background", "color", "shape", "motion", "tone")
GOOD_OVERLAP = 0.9


def held_out_scenes(count: int) -> list[Scene]:
    """Scenes in which every shape, motion and tone is about equally frequent."""
    rng = random.Random(HELD_OUT_SEED)  # noqa: S311 - data, not secrets
    shapes, motions, tones = list(Shape), list(Motion), list(Tone)
    return [
        replace(draw_scene(rng), shape=shapes[i % 3], motion=motions[i % 7], tone=tones[i % len(tones)])
        for i in range(count)
    ]


def compare(scene: Scene, seen: Seen) -> dict[str, bool]:
    """Which attributes of `scene` the clip shows."""
    right = {name: getattr(scene, name) == getattr(seen, name) for name in ATTRIBUTES}
    return right | {"all": all(right.values()), "overlap": seen.overlap >= GOOD_OVERLAP}


def open_model(checkpoint: str, cache_dir: Path) -> Ltx2Model:
    """The model as it is served, but without the label on its frames, which the analyser would take for a shape."""
    model = Ltx2Model.load(checkpoint, "cpu", cache_dir, ignore)
    model.profile = replace(model.profile, tiny=False)
    return model


def request_for(prompt: str, size: Size, **fields: object) -> VideoRequest:
    """The request for a video of the rate that the model knows, with all guidance unless `fields` say otherwise."""
    shape = {"height": size.height, "width": size.width, "num_frames": size.frames, "frame_rate": FRAME_RATE}
    return VideoRequest.model_validate({"prompt": prompt, **shape, **fields})


def evaluate(
    model: Ltx2Model, scenes: Sequence[Scene], size: Size, steps: int, guidance: Mapping[str, float]
) -> dict[str, float]:
    """The share of `scenes` for which each attribute is right. Without `guidance`, its scales are the defaults."""
    results = []
    for seed, scene in enumerate(tqdm(scenes, desc="prompts")):
        request = request_for(describe(scene), size, num_inference_steps=steps, seed=seed, **guidance)
        clip = model.render(request, NO_CONDITIONS, ignore)
        results.append(compare(scene, analyze(clip.frames, clip.audio, clip.sample_rate_hz)))
    return {name: round(float(np.mean([result[name] for result in results])), 3) for name in results[0]}


@torch.no_grad()
def measure_psnr(vae: Any, scenes: Sequence[Scene], size: Size) -> float:
    """The mean PSNR in dB of clips that `vae` encodes and decodes."""
    rng = random.Random(HELD_OUT_SEED)  # noqa: S311 - data, not secrets
    values = []
    for scene in scenes:
        frames = render_frames(scene, size, choose_center(scene, size, Place.ANYWHERE, rng))[None]
        decoded = vae.decode(vae.encode(frames).latent_dist.mode()).sample.clamp(-1, 1)
        values.append(10 * math.log10(4 / (decoded - frames).pow(2).mean().item()))
    return round(float(np.mean(values)), 2)


def ignore(_progress: Progress) -> None:
    """Ignore a progress report."""


def main() -> None:
    """Evaluate a checkpoint and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--unguided", action="store_true", help="without guidance; else with its default scales")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = Size(options.height, options.width, options.frames)
    scenes = held_out_scenes(options.prompts)
    with tempfile.TemporaryDirectory() as cache:
        model = open_model(str(options.checkpoint.resolve()), Path(cache))
        shares = evaluate(model, scenes, size, options.steps, NO_GUIDANCE if options.unguided else {})
        psnr_db = measure_psnr(model._text_to_video.vae, scenes[:8], size)  # noqa: SLF001 - the weights as served
        model.close()
    print(json.dumps({**shares, "psnr_db": psnr_db, "prompts": options.prompts}))  # noqa: T201


if __name__ == "__main__":
    main()
