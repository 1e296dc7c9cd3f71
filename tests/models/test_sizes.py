"""Promise: a placement counts the weights that a load uses, not other files of the checkpoint."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.checkpoint.sizes import measure_sizes

VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def checkpoint(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint, whose weights are float32, with a VAE in bfloat16."""
    folder = shutil.copytree(tiny_folder, tmp_path / "checkpoint")
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / VAE).items()}
    save_file(weights, folder / VAE)
    return folder


def numbers(file: Path) -> int:
    return sum(tensor.numel() for tensor in load_file(file).values())


def test_sizes_are_those_of_the_numbers_that_are_loaded(checkpoint: Path) -> None:
    for dtype, number_bytes in (("bfloat16", 2), ("float32", 4)):
        sizes = measure_sizes(checkpoint, dtype)
        assert sizes.total == sum(numbers(file) for file in checkpoint.rglob("*.safetensors")) * number_bytes
        assert sizes.weights["vae"] == numbers(checkpoint / VAE) * number_bytes
    assert sizes.blocks == json.loads((checkpoint / "transformer" / "config.json").read_text())["num_layers"]


def test_what_is_stored_as_other_numbers_is_told_apart(checkpoint: Path) -> None:
    halved, whole = measure_sizes(checkpoint, "bfloat16"), measure_sizes(checkpoint, "float32")
    assert halved.converted == {name: size for name, size in halved.weights.items() if name != "vae"}
    assert whole.converted == {"vae": whole.weights["vae"]}


def test_second_copies_and_what_nothing_reads_are_not_counted(checkpoint: Path) -> None:
    before = measure_sizes(checkpoint)
    shutil.copy(checkpoint / VAE, checkpoint / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    shutil.copytree(checkpoint / "transformer", checkpoint / "transformer_full")
    assert measure_sizes(checkpoint) == before
