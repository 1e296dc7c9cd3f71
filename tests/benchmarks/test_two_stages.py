"""Promise: the benchmark of two stages runs completely at tiny size, so that it needs no fixes on the GPU machine."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.stage_work import Counter
from benchmarks.two_stages import parse, run
from models.checkpoint.profile import Family
from models.request.request import VideoRequest


@pytest.mark.parametrize("kind", [(), ("--guided",)])
def test_both_ways_are_measured_from_a_text_and_from_an_image(kind: tuple[str, ...], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = run(
        parse(["--tiny", *kind, "--rounds", "1", "--json", str(tmp_path / "found.json"), "--save", str(tmp_path)])
    )
    assert [(row["from"], row["upscale"]) for row in rows] == [
        ("text", "none"),
        ("text", "2"),
        ("image", "none"),
        ("image", "2"),
    ]
    assert all("refining_s" in row and "upscaling_s" in row for row in rows if row["upscale"] == "2")
    assert not any("refining_s" in row for row in rows if row["upscale"] == "none")
    assert json.loads((tmp_path / "found.json").read_text())["rows"] == rows
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_the_work_of_a_call_is_counted_without_a_gpu() -> None:
    """1,536 tokens take 48 TFLOP (decision 0047)."""
    work = Counter(Family.LTX_2_3).count(VideoRequest(prompt="a", height=256, width=384, num_frames=121))
    assert 40e12 < work.isolated < work.plain < 50e12 < work.refining < 55e12
