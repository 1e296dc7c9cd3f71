"""Download ahead: a load finds the downloaded files, and every failure is one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from deployments.cli import download_model
from deployments.cli.download_model import prefetch_model
from models.checkpoint.locate import fetch_checkpoint
from models.errors import ModelBroken
from tests.fake_hub import REPOSITORY, FakeHub
from tests.models.conftest import cache_dir, hub, ignore, tiny_folder, user_cache

__all__ = ["cache_dir", "hub", "tiny_folder", "user_cache"]
CONFIG = Path(__file__).parents[1] / "serve_config.yaml"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments.cli.download_model", *arguments]
    return subprocess.run(
        command, cwd=CONFIG.parent, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_what_is_fetched_ahead_is_what_a_load_finds(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_model, "PRINT_INTERVAL_S", 0.0)
    said: list[str] = []
    folder = prefetch_model(REPOSITORY, tmp_path / "cache", said.append)
    assert any(line.endswith(" GB") for line in said)
    assert f"https://huggingface.co/{REPOSITORY}" in said[2]
    assert str(folder) in said[-2]
    assert said[-1] == "the server will run it as LTX-2: 40 guided steps, STG at block 0"
    hub.served.clear()
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore) == folder
    assert not [name for name in hub.served if name.endswith(".safetensors")]
    assert "ltx-2-19b-dev.safetensors" not in [file.name for file in folder.iterdir()]


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"license": "apache-2.0"}, "license: apache-2.0"),
        (
            {"license": "other", "license_name": "some-terms", "license_link": "LICENSE"},
            f"license: some-terms (https://huggingface.co/{REPOSITORY}/blob/main/LICENSE)",
        ),
        (
            {"license": "other", "license_name": "some-terms", "license_link": "https://example.com/terms"},
            "license: some-terms (https://example.com/terms)",
        ),
        ({}, "license: unknown; the hub names none or does not answer"),
    ],
)
def test_the_license_is_said_before_anything_is_fetched(
    hub: FakeHub, tmp_path: Path, card: dict[str, str], said: str
) -> None:
    hub.card = card
    served_by_then: list[tuple[str, int]] = []
    prefetch_model(REPOSITORY, tmp_path / "cache", lambda line: served_by_then.append((line, len(hub.served))))
    assert (said, 0) in served_by_then


def test_without_the_hub_what_is_there_is_found_and_its_license_is_not(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefetch_model(REPOSITORY, tmp_path / "cache", print)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said: list[str] = []
    prefetch_model(REPOSITORY, tmp_path / "cache", said.append)
    assert "license: unknown; the hub names none or does not answer" in said


def test_what_is_there_and_is_no_model_or_a_broken_one_is_said(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match=r"model_index.json is missing: a model is a folder that diffusers saved"):
        prefetch_model(str(tmp_path), tmp_path / "cache", print)
    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    (broken / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(ModelBroken, match="is broken"):
        prefetch_model(str(broken), tmp_path / "cache", print)


def test_the_command_takes_the_model_that_is_named_and_the_cache_of_the_settings(tmp_path: Path) -> None:
    done = run("serve_config.yaml", "tiny", LTX2_CACHE_DIR=str(tmp_path / "cache"))
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / "cache") in done.stdout
    assert "terms" not in done.stdout
    assert list((tmp_path / "cache").glob("*/model_index.json"))


def test_the_command_fetches_what_the_settings_say_is_run(tiny_folder: Path, tmp_path: Path) -> None:
    two = shutil.copytree(tiny_folder, tmp_path / "two")
    (two / "transformer").rename(two / "transformer_full")
    cache = str(tmp_path / "cache")
    done = run("serve_config.yaml", str(two), LTX2_CACHE_DIR=cache, LTX2_GENERATOR__CHECKPOINT_TYPE="base")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the model is complete, in {cache}/full-" in done.stdout


def test_a_model_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = run("serve_config.yaml", "no/such/thing", LTX2_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "neither a folder on this machine" in done.stderr
