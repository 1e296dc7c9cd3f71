"""Promise: the benchmark of a GPU runs whole at tiny size, so that it needs no mending where the GPU is."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import PLAIN, SMALL, options, print_table, run
from benchmarks.gpu_measure import denoise, difference
from benchmarks.gpu_subject import random_subject
from models.speedup_choice import Speedup
from models.tiny import AUDIO_VAE, CONNECTORS, TRANSFORMER, VIDEO_VAE, VOCODER

ROUNDING = 1e-4


def test_every_option_is_measured_beside_diffusers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    profile_file = tmp_path / "profile.txt"
    result = run(argparse.Namespace(tiny=True, model="random", profile_file=profile_file))
    rows = {row["option"]: row for row in result["options"]}
    fast = {"fast: unguided", "fast: float8"}
    assert set(rows) == {PLAIN, *options("cuda" if torch.cuda.is_available() else "cpu"), *fast}
    assert all(row["step_s"] > 0 and (row["difference"] < ROUNDING) != (name in fast) for name, row in rows.items())
    assert result["text_s"] > 0
    assert all(move["gb_s"] > 0 for move in result["moves"].values())
    assert result["gemm_tflops"] > 0
    assert "aten::" in profile_file.read_text()
    print_table(json.loads(json.dumps(result)))
    shown = capsys.readouterr().out
    assert "decode tiled" in shown
    assert "wake, the transformer" in shown


def test_on_a_gpu_every_speedup_is_measured_alone() -> None:
    assert {(name,) for name in Speedup} <= set(options("cuda").values())


def test_random_weights_need_no_text_encoder_and_give_numbers() -> None:
    configs = {
        "transformer": {**TRANSFORMER, "num_layers": 3},
        "connectors": CONNECTORS,
        "vae": VIDEO_VAE,
        "audio_vae": AUDIO_VAE,
        "vocoder": VOCODER,
    }
    subject = random_subject("cpu", configs)
    assert subject.stg_blocks == (2,)
    subject.pipe.set_progress_bar_config(disable=True)
    done = denoise(subject, SMALL)
    assert bool(done.video.isfinite().all())
    assert difference(denoise(subject.with_twin(), SMALL), done) == 0.0
