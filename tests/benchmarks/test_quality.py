"""Promise: the quality benchmark runs completely at tiny size, and reports there that its figures mean nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import NOTHING, ignore, judge, show, ssim
from models.ltx2.model import Ltx2Model
from models.request.request import VideoRequest


def test_fast_is_judged_against_exact_and_another_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    model = Ltx2Model.load("tiny", "cpu", tmp_path, ignore)
    request = VideoRequest(prompt="a cat", height=64, width=128, num_frames=9, num_inference_steps=4)
    rows = judge(model, request, 2, "cpu")
    assert len(rows) == 2
    assert all(0 < row["ssim"] < 1 and row["fast_s"] > 0 for row in rows)
    show(rows, model, "words")
    assert NOTHING in capsys.readouterr().out


def test_an_image_is_like_itself_and_less_like_another() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert ssim(images, images) == pytest.approx(1.0)
    assert ssim(images[:1], images[1:]) < 0.1
