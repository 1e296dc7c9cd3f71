"""Promise: the benchmark of two stages runs completely at tiny size, so that it needs no fixes on the GPU machine."""

import json
from pathlib import Path

import torch

from benchmarks.two_stages import parse, run


def test_both_ways_are_measured_in_one_run_from_a_text_and_from_an_image(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = run(parse(["--tiny", "--rounds", "1", "--json", str(tmp_path / "found.json"), "--save", str(tmp_path)]))
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
