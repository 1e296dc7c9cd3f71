"""Promise: the GPU benchmark runs completely at tiny size, so that it needs no fixes on the GPU machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import steps, tasks
from benchmarks.gpu.__main__ import PARTS, SMALL, Bench, parse
from benchmarks.gpu.machine import look
from benchmarks.gpu.measure import denoise, difference
from benchmarks.gpu.model_under_test import RANDOM, Source, Subject, held_sizes, open_subject
from benchmarks.gpu.report import rows_of
from benchmarks.gpu.steps import AGAIN, PLAIN, Steps, compiled_options, options
from benchmarks.gpu.table_rows import ERROR, Row, tried
from benchmarks.gpu.tasks import needed_by_cards
from models.checkpoint.tiny import AUDIO_VAE, CONNECTORS, TEXT_ENCODER, TRANSFORMER, VIDEO_VAE, VOCODER
from models.memory.offload_plan import OffloadMode
from models.optimizations.compiled import compile_blocks
from models.optimizations.selection import Optimization

pytestmark = pytest.mark.timeout(900)
"""The setup of the first test runs the whole benchmark."""

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
"""A small replacement for all parts of a full-size model."""


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
    assert set(rows) == {PLAIN, *options("cuda" if torch.cuda.is_available() else "cpu"), AGAIN}
    assert all(row["step_s"] > 0 and row["difference"] < ROUNDING and row["finite"] for row in rows.values())
    assert list(rows)[-1] == AGAIN, "the baseline at both ends: what the machine did meanwhile"
    assert found["gemm_tflops"] > 0
    assert found["gemm_tflops_after"] > 0


def test_nothing_fails_and_every_part_is_there(found: dict[str, Any]) -> None:
    assert set(found) >= {*PARTS} - {"compile", "profile"}
    assert not [row for name in PARTS for row in rows_of(found.get(name)) if ERROR in row]


def test_the_kernels_of_attention_that_ran_are_named(found: dict[str, Any]) -> None:
    kernels = [row for row in found["attention"] if "kernel" in row]
    assert any("attention" in row["kernel"] and row["calls"] > 0 for row in kernels)
    assert [row["option"] for row in found["attention"] if "option" in row] == ["native"]


def test_the_text_encoder_is_measured_in_each_way(found: dict[str, Any]) -> None:
    rows = {row["text encoder"]: row for row in found["text"]}
    assert set(rows) == {"resident", "nf4", "passes", "nf4, passes"}
    assert rows["passes"]["difference"] == 0
    assert 0 < rows["nf4"]["difference"] == rows["nf4, passes"]["difference"] < 0.5
    assert all(row["both_s"] > 0 for row in rows.values())


def test_the_vocoder_is_measured_beside_float32(found: dict[str, Any]) -> None:
    rows = {row["vocoder"]: row for row in found["sound"]}
    assert rows["float32"]["difference"] == 0
    assert rows["as loaded"]["seconds"] > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own modules, when its compiler is imported
def test_blocks_are_compiled_in_the_ways_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as on a GPU. torch's own tests cover what its backends make of that."""
    asked: list[object] = []

    def trace(transformer: Any, *, mode: str, dynamic: bool | None) -> bool:
        asked.append((mode, dynamic))
        return compile_blocks(transformer, backend="eager", dynamic=dynamic)

    monkeypatch.setattr(steps, "compile_blocks", trace)
    measured = Steps(_random(), SMALL, 1.0, ("compile dynamic",))
    rows = {row["option"]: row for row in measured.measure_compiled()}
    assert list(rows) == ["compile dynamic", AGAIN]
    assert asked == [("default", True)]
    assert all(row["finite"] for row in rows.values())
    assert rows["compile dynamic"]["compile_s"] > 0


def test_what_is_said_of_a_card_is_what_nvidia_smi_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look() == {}
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho '1980 MHz, 2619 MHz, 698.10 W, 700.00 W, 61, 0x4, 81000 MiB, 580.95.05'\n")
    command.chmod(0o755)
    assert look()["clocks_event_reasons.active"] == "0x4"
    assert look()["driver_version"] == "580.95.05"
    command.write_text("#!/bin/sh\nexit 9\n")
    assert "error" in look()


def test_another_size_and_a_part_of_the_options_may_be_asked_for() -> None:
    bench = Bench(parse(["--tiny", "--size", "64x64x9", "--only", "steps", "--options", "drop_noop_mask"]))
    bench.run()
    assert [row["option"] for row in bench.found["steps"]] == [PLAIN, "drop_noop_mask", AGAIN]
    assert bench.found["shape"]["width"] == 64
    with pytest.raises(SystemExit):
        parse(["--tiny", "--size", "large"])


def test_what_fast_leaves_out_changes_the_result(found: dict[str, Any]) -> None:
    assert {row["option"]: row["difference"] > ROUNDING for row in found["fast"]} == {
        "fast: unguided": True,
        "fast: float8": True,
        "fast: float8, exact sums": True,
    }


def test_decoder_frames_and_moves_are_measured(found: dict[str, Any]) -> None:
    assert [row["way"] for row in found["decode"]] == ["whole", "tiled", "cudnn.benchmark", "and channels last"]
    assert all(row["seconds"] > 0 for row in found["decode"])
    assert set(found["moves"]) == {"sleep", "wake", "sleep again", "wake again"}
    assert 2 * found["frames"]["yuv"]["gb"] == found["frames"]["rgb"]["gb"]
    assert all(move["gb_s"] > 0 for move in found["moves"].values())


def test_whole_tasks_are_measured_part_by_part(found: dict[str, Any]) -> None:
    first, *measured, last = found["tasks"]
    speedups = ["first_attention_reuse", "drop_noop_mask", "text_kv_cache", "dedup_timesteps"]  # one block
    assert first == {"place": "cpu", "speedups": speedups}
    assert set(last) == {"task", "crept_gb"}
    rows = {row["task"]: row for row in measured}
    assert {"new prompt", "known prompt", "from an image", "quality fast", "large"} <= set(rows)
    for row in rows.values():
        assert row["seconds"] == pytest.approx(sum(row[f"{part}_s"] for part in ("text", "denoise", "image", "sound")))
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
    """GPU time is scarce: a run of whole tasks must not first create the model of the other parts."""
    missing = Source(str(tmp_path / "nothing"))
    others = Bench(parse(["--tiny", "--only", "tasks"]), missing)
    others.run_parts(others.diffusers_parts())
    assert others.found == {}
    bench = Bench(parse(["--tiny", "--only", "frames", "moves"]), missing)
    bench.run_parts(bench.diffusers_parts())
    assert bench.failed == ["frames", "moves"]


def test_on_a_gpu_every_speedup_is_measured_alone() -> None:
    alone = {*options("cuda").values(), *(option.optimizations for option in compiled_options().values())}
    assert {(name,) for name in Optimization if name is not Optimization.COMPILE} <= alone
    assert () in alone, "compiled blocks alone"


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
    needed = {(placed.mode, card_gb) for card_gb, placed in needed_by_cards(held_sizes(Source(RANDOM)), 90 * 10**9)}
    assert {(OffloadMode.BLOCK, 16), (OffloadMode.ALL_BUT_TRANSFORMER, 48)} <= needed


def _random() -> Subject:
    return open_subject(SMALL_RANDOM, "cpu")
