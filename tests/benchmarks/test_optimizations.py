"""Promise: the benchmark of optimizations on the processor runs completely at tiny size."""

from pathlib import Path

import torch

from benchmarks.optimizations import compare, load_each
from models.optimizations.selection import ALWAYS_FASTER, AUTO, OFF, Optimization
from models.request.request import VideoRequest


def test_each_setting_is_compared_with_none(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    models = load_each("tiny", tmp_path, (OFF, AUTO, Optimization.DROP_NOOP_MASK))
    assert models[OFF].optimizations == ()
    assert (
        models[AUTO].optimizations == tuple(each for each in ALWAYS_FASTER if each in models[AUTO].optimizations) != ()
    )
    assert models[Optimization.DROP_NOOP_MASK].optimizations == (Optimization.DROP_NOOP_MASK,)
    request = VideoRequest(prompt="a cat", height=64, width=128, num_frames=9, num_inference_steps=2, seed=1)
    rows = compare(models, request, 1)
    assert all(row.seconds > 0 for row in rows.values())
    assert rows[OFF].difference == rows[Optimization.DROP_NOOP_MASK].difference == 0
    assert rows[AUTO].difference <= 2  # of 255: rounding
