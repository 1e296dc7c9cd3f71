"""Promise: the benchmark of a GPU runs whole at tiny size, so that it needs no mending where the GPU is."""

import json
from typing import Any

import pytest
import torch

from benchmarks.gpu.__main__ import SMALL, Bench, parse
from benchmarks.gpu.measure import denoise, difference
from benchmarks.gpu.steps import PLAIN, options
from benchmarks.gpu.subject import RANDOM, Source, Subject, held_sizes, open_subject
from benchmarks.gpu.tasks import needed_by_cards
from models.placement import Place
from models.speedup_choice import Speedup
from models.tiny import AUDIO_VAE, CONNECTORS, TEXT_ENCODER, TRANSFORMER, VIDEO_VAE, VOCODER

ROUNDING = 1e-4
CONFIGS = {
    "transformer": {**TRANSFORMER, "num_layers": 3},
    "connectors": CONNECTORS,
    "vae": VIDEO_VAE,
    "audio_vae": AUDIO_VAE,
    "vocoder": VOCODER,
    "text_encoder": TEXT_ENCODER,
}
SMALL_RANDOM = Source(RANDOM, configs=CONFIGS)
"""All that stands for a model of full size, in small."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("gpu")
    torch.set_num_threads(1)
    bench = Bench(parse(["--tiny", "--json", str(folder / "gpu.json"), "--profile-file", str(folder / "profile.txt")]))
    bench.run()
    assert "aten::" in (folder / "profile.txt").read_text()
    written: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return written


def test_every_option_is_measured_beside_diffusers(found: dict[str, Any]) -> None:
    rows = {row["option"]: row for row in found["steps"]}
    assert set(rows) == {PLAIN, *options("cuda" if torch.cuda.is_available() else "cpu")}
    assert all(row["step_s"] > 0 and row["difference"] < ROUNDING for row in rows.values())
    assert found["gemm_tflops"] > 0


def test_what_fast_leaves_out_changes_the_result(found: dict[str, Any]) -> None:
    assert {row["option"]: row["difference"] > ROUNDING for row in found["fast"]} == {
        "fast: unguided": True,
        "fast: float8": True,
    }


def test_decoder_frames_and_moves_are_measured(found: dict[str, Any]) -> None:
    assert all(found["decode"][way]["seconds"] > 0 for way in ("whole", "tiled"))
    assert 2 * found["frames"]["yuv"]["gb"] == found["frames"]["rgb"]["gb"]
    assert all(move["gb_s"] > 0 for move in found["moves"].values())


def test_whole_tasks_are_measured_part_by_part(found: dict[str, Any]) -> None:
    rows = {row["task"]: row for row in found["tasks"]["tasks"]}
    assert {"new prompt", "known prompt", "from an image", "quality fast", "large"} <= set(rows)
    for row in rows.values():
        assert row["seconds"] == pytest.approx(
            sum(row[f"{part}_s"] for part in ("text", "denoise", "picture", "sound"))
        )
    assert rows["known prompt"]["text_s"] < rows["new prompt"]["text_s"]
    assert len(found["cards"]) == 1


def test_a_part_that_fails_says_so_and_the_next_goes_on() -> None:
    bench = Bench(parse(["--tiny", "--only", "frames", "moves"]))
    bench.run_parts(lambda: {"frames": lambda: 1 / 0, "moves": lambda: {"wake": {"seconds": 1.0}}, "tasks": list})
    assert bench.failed == ["frames"]
    assert bench.found == {
        "frames": {"error": "ZeroDivisionError: division by zero"},
        "moves": {"wake": {"seconds": 1.0}},
    }


def test_on_a_gpu_every_speedup_is_measured_alone() -> None:
    assert {(name,) for name in Speedup} <= set(options("cuda").values())


def test_random_weights_need_no_text_encoder_and_give_numbers() -> None:
    subject = _random()
    assert subject.stg_blocks == (2,)
    done = denoise(subject, SMALL)
    assert bool(done.video.isfinite().all())
    assert difference(denoise(subject.with_twin(), SMALL), done) == 0.0


def test_random_weights_render_whole_tasks() -> None:
    bench = Bench(parse(["--tiny", "--only", "tasks"]), SMALL_RANDOM)
    bench.run()
    assert bench.failed == []
    assert len(bench.found["tasks"]["tasks"]) > 1


def test_each_placement_is_tried_on_the_smallest_card_that_needs_it() -> None:
    needed = {(placed.place, card_gb) for card_gb, placed in needed_by_cards(held_sizes(Source(RANDOM)), 90 * 10**9)}
    assert {(Place.BLOCKS, 16), (Place.TRANSFORMER, 48)} <= needed


def _random() -> Subject:
    return open_subject(SMALL_RANDOM, "cpu")
