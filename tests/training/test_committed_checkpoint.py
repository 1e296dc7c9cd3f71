"""The weights in the repository: the layout, the size, and what their video VAE keeps."""

import json
import random
from pathlib import Path

import pytest
import torch

from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.optimizations.selection import ALWAYS_FASTER
from models.progress import Progress
from models.request.request import VideoRequest
from tests.product import ROOT
from training.analyser import analyze
from training.evaluate import compare, held_out_scenes
from training.export import RECORD
from training.run import create_parts
from training.stage import Plan
from training.world import Place, Size, choose_center, render_frames

CHECKPOINT = ROOT / "models/checkpoint/demo"
MAX_BYTES = 12_000_000
SIZE = Size(256, 384, 25)
SCENES = held_out_scenes(7)


def ignore(_progress: Progress) -> None:
    """Ignore a progress report."""


def test_it_is_small_and_says_what_was_trained() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file()) <= MAX_BYTES
    record = json.loads((CHECKPOINT / RECORD).read_text())
    assert set(record["steps"]) == {"video_vae", "audio_vae", "transformer"}


def test_the_server_loads_and_renders_it(tmp_path: Path) -> None:
    model = Ltx2Model.load(str(CHECKPOINT), "cpu", tmp_path, ignore)
    fields = {"prompt": "a red circle", "height": 64, "width": 64, "num_frames": 9, "num_inference_steps": 2}
    clip = model.render(VideoRequest.model_validate(fields), NO_CONDITIONS, ignore)
    model.close()
    assert clip.frames.shape == (9, 64, 64, 3)
    assert model.optimizations == ALWAYS_FASTER


@pytest.mark.parametrize("number", range(len(SCENES)))
def test_its_video_vae_keeps_every_motion(number: int, tmp_path: Path) -> None:
    scene = SCENES[number]
    vae = create_parts(Plan(tmp_path, seed=0, device="cpu"), CHECKPOINT)["video_vae"].average
    frames = render_frames(scene, SIZE, choose_center(scene, SIZE, Place.ANYWHERE, random.Random(number)))[None]
    with torch.no_grad():
        decoded = vae.decode(vae.encode(frames).latent_dist.mode()).sample.clamp(-1, 1)  # type: ignore[operator]
    seen = analyze(((decoded[0].permute(1, 2, 3, 0) + 1) * 127.5).round().byte().numpy(), None)
    wrong = [name for name, right in compare(scene, seen).items() if not right]
    assert set(wrong) <= {"tone", "all", "overlap"}
