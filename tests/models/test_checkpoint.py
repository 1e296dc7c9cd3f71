"""Which checkpoint a setting means, and whether its files are whole."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from models.checkpoint import fetch_checkpoint, is_repository
from models.checkpoint_files import check_weights, components
from models.errors import ModelBroken, ModelNotFound
from models.ltx2 import Ltx2
from tests.models.conftest import ignore

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return shutil.copytree(tiny_folder, tmp_path / "checkpoint")


def test_a_revision_that_is_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="a branch, a tag or a commit must follow"):
        fetch_checkpoint("owner/name@", tmp_path / "cache", ignore)


@pytest.mark.parametrize("name", ["/nowhere", "./nowhere", "~/nowhere", "no-owner", "a/b/c", ""])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="is no folder on this machine"):
        fetch_checkpoint(name, tmp_path, ignore)
    assert not is_repository(name)


def test_parts_that_rendering_does_not_use_are_left_out() -> None:
    index = {
        "_class_name": "LTX2Pipeline",
        "vae": ["diffusers", "AutoencoderKLLTX2Video"],
        "prompt_enhancer": ["transformers", "Gemma4ForConditionalGeneration"],
        "processor": [None, None],
    }
    assert components(index) == ("vae",)


def test_weights_that_are_whole_are_taken(folder: Path) -> None:
    check_weights(folder)


def test_a_file_that_was_cut_off_is_said_before_anything_is_loaded(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-1])
    with pytest.raises(ModelBroken, match=rf"{WEIGHTS} is broken: it has {len(whole) - 1} bytes"):
        Ltx2.load(str(folder), "cpu", folder.parent, ignore)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no whole header"),
        (b"abc", "no whole header"),
        (struct.pack("<Q", 10**15) + b"{}", "no whole header"),
        (struct.pack("<Q", 2) + b"{,", "no JSON object"),
        (struct.pack("<Q", 2) + b"[]", "no JSON object"),
        (struct.pack("<Q", 8) + b'{"a":{}}', "none of safetensors"),
        (b"<html>not a model but a page that a proxy sent</html>", "no whole header"),
    ],
)
def test_a_header_that_is_broken_is_said(folder: Path, content: bytes, said: str) -> None:
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelBroken, match=rf"{WEIGHTS} is broken: .*{said}.*Delete it and fetch the model again"):
        check_weights(folder)


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(ModelBroken, match=r"model-00002-of-00002.safetensors is missing"):
        check_weights(folder)


def test_what_rendering_does_not_use_may_be_broken(folder: Path) -> None:
    (folder / "prompt_enhancer").mkdir()
    (folder / "prompt_enhancer" / "model.safetensors").write_bytes(b"")
    check_weights(folder)
