"""Promise: the benchmark of a GPU runs whole at tiny size, so that it needs no mending where the GPU is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import tasks
from benchmarks.gpu.__main__ import SMALL, Bench, parse
from benchmarks.gpu.measure import denoise, difference
from benchmarks.gpu.rows import Row, tried
from benchmarks.gpu.steps import PLAIN, compiled_options, options
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
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tasks, "CREEP_TASKS", 8)
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
    first, *measured, last = found["tasks"]
    assert first == {"place": "cpu", "speedups": []}
    assert set(last) == {"task", "crept_gb"}
    rows = {row["task"]: row for row in measured}
    assert {"new prompt", "known prompt", "from an image", "quality fast", "large"} <= set(rows)
    for row in rows.values():
        assert row["seconds"] == pytest.approx(
            sum(row[f"{part}_s"] for part in ("text", "denoise", "picture", "sound"))
        )
    assert rows["known prompt"]["text_s"] < rows["new prompt"]["text_s"]
    assert [row["place"] for row in found["cards"]] == ["cpu"]
    assert found["cards"][0]["seconds"] > 0


def test_what_fails_says_so_and_the_next_goes_on(tmp_path: Path) -> None:
    bench = Bench(parse(["--tiny", "--json", str(tmp_path / "gpu.json")]))

    def rows() -> Iterator[Row]:
        yield tried({"option": "whole"}, lambda: {"step_s": 2.0})
        yield tried({"option": "broken"}, lambda: {"step_s": 1 / 0})
        assert len(json.loads((tmp_path / "gpu.json").read_text())["steps"]) == 2, "each row is kept at once"
        raise MemoryError("of all rows")

    bench.run_parts({"steps": rows, "frames": lambda: 1 / 0, "moves": lambda: {"wake": {"seconds": 1.0}}})
    assert bench.failed == ["steps", "frames"]
    assert bench.found == {
        "steps": [
            {"option": "whole", "step_s": 2.0},
            {"option": "broken", "error": "ZeroDivisionError: division by zero"},
            {"error": "MemoryError: of all rows"},
        ],
        "frames": [{"error": "ZeroDivisionError: division by zero"}],
        "moves": {"wake": {"seconds": 1.0}},
    }


def test_a_model_is_made_for_the_parts_that_are_wanted_alone(tmp_path: Path) -> None:
    """Minutes on a GPU are few: a run of whole tasks must not make the other parts' model first."""
    missing = Source(str(tmp_path / "nothing"))
    others = Bench(parse(["--tiny", "--only", "tasks"]), missing)
    others.run_parts(others.diffusers_parts())
    assert others.found == {}
    bench = Bench(parse(["--tiny", "--only", "frames", "moves"]), missing)
    bench.run_parts(bench.diffusers_parts())
    assert bench.failed == ["frames", "moves"]


def test_on_a_gpu_every_speedup_is_measured_alone() -> None:
    assert {(name,) for name in Speedup} <= {*options("cuda").values(), *compiled_options().values()}


def test_random_weights_need_no_text_encoder_and_give_numbers() -> None:
    subject = _random()
    assert subject.stg_blocks == (2,)
    done = denoise(subject, SMALL)
    assert bool(done.video.isfinite().all())
    assert difference(denoise(subject.with_twin(), SMALL), done) == 0.0


def test_random_weights_render_whole_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CREEP_TASKS", 8)
    bench = Bench(parse(["--tiny", "--only", "tasks"]), SMALL_RANDOM)
    bench.run()
    assert bench.failed == []
    assert len(bench.found["tasks"]) > 2


def test_each_placement_is_tried_on_the_smallest_card_that_needs_it() -> None:
    needed = {(placed.place, card_gb) for card_gb, placed in needed_by_cards(held_sizes(Source(RANDOM)), 90 * 10**9)}
    assert {(Place.BLOCKS, 16), (Place.TRANSFORMER, 48)} <= needed


def _random() -> Subject:
    return open_subject(SMALL_RANDOM, "cpu")
