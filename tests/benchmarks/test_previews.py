"""Promise: the benchmark of previews runs completely at tiny size."""

from pathlib import Path

import pytest
import torch

from benchmarks.previews import compare, ignore, show
from models.ltx2.model import Ltx2Model
from models.preview import UNLIMITED
from models.request.request import VideoRequest


def test_a_render_is_compared_with_itself_without_previews(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    model = Ltx2Model.load("tiny", "cpu", tmp_path, ignore)
    request = VideoRequest(prompt="a cat", height=64, width=128, num_frames=9, num_inference_steps=4)
    found = compare(model, request, 1, UNLIMITED)
    assert found.previews == 3
    assert 0 < found.preview_s < found.with_s
    show(found, UNLIMITED)
    assert "ratio" in capsys.readouterr().out
