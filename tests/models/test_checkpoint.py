"""Which checkpoint a setting selects, and whether its files are complete."""

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.checkpoint.files import components
from models.checkpoint.locate import fetch_checkpoint, find_checkpoint, is_repository
from models.checkpoint.validate import check_checkpoint
from models.errors import ModelBroken, ModelNotFound
from models.ltx2.model import Ltx2Model
from tests.models.conftest import ignore

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
TENSORS = {
    "transformer": "proj_in.weight",
    "connectors": "audio_connector.learnable_registers",
    "vae": "decoder.conv_in.conv.weight",
    "audio_vae": "decoder.conv_in.conv.weight",
    "vocoder": "conv_in.weight",
    "text_encoder": "language_model.model.embed_tokens.weight",
}
"""A tensor of each component, by its name in the file."""


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return shutil.copytree(tiny_folder, tmp_path / "checkpoint")


def test_a_revision_that_is_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="a branch, a tag or a commit must follow"):
        fetch_checkpoint("owner/name@", tmp_path / "cache", ignore)


@pytest.mark.parametrize("name", ["/nowhere", "./nowhere", "~/nowhere", "no-owner", "a/b/c", ""])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="is neither a folder on this machine nor a repository"):
        fetch_checkpoint(name, tmp_path, ignore)
    assert not is_repository(name)


@pytest.mark.parametrize("name", ["n" * 5000, "/" + "n" * 300, "~nobody-of-this-name/model", "owner/na\0me", " "])
def test_a_name_that_nothing_can_have_is_refused_in_words(name: str, tmp_path: Path) -> None:
    assert find_checkpoint(name, tmp_path) is None
    with pytest.raises(ModelNotFound):
        fetch_checkpoint(name, tmp_path, ignore)


def test_parts_that_rendering_does_not_use_are_left_out() -> None:
    index = {
        "_class_name": "LTX2Pipeline",
        "vae": ["diffusers", "AutoencoderKLLTX2Video"],
        "prompt_enhancer": ["transformers", "Gemma4ForConditionalGeneration"],
        "processor": [None, None],
    }
    assert components(index) == ("vae",)


def test_weights_that_are_whole_are_taken(folder: Path) -> None:
    check_checkpoint(folder)


def test_a_file_that_was_cut_off_is_said_before_anything_is_loaded(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-1])
    with pytest.raises(ModelBroken, match=rf"{WEIGHTS} is broken: it has {len(whole) - 1} bytes"):
        Ltx2Model.load(str(folder), "cpu", folder.parent, ignore)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "its header is incomplete"),
        (b"abc", "its header is incomplete"),
        (struct.pack("<Q", 10**15) + b"{}", "its header is incomplete"),
        (struct.pack("<Q", 2) + b"{,", "not a JSON object"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
        (struct.pack("<Q", 8) + b'{"a":{}}', "not that of a safetensors file"),
        (b"<html>not a model but a page that a proxy sent</html>", "its header is incomplete"),
    ],
)
def test_a_header_that_is_broken_is_said(folder: Path, content: bytes, said: str) -> None:
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelBroken, match=rf"{WEIGHTS} is broken: .*{said}.*Delete it and fetch the model again"):
        check_checkpoint(folder)


def shard(folder: Path, component: str) -> Path:
    """Write a component's weights as shards, beside the single file. Returns the component's folder."""
    whole = next((folder / component).glob("*.safetensors"))
    tensors = load_file(whole)
    names = {name: f"{whole.stem}-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(names.values()):
        save_file({name: tensors[name] for name in names if names[name] == file}, whole.parent / file, {"format": "pt"})
    (whole.parent / f"{whole.name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return whole.parent


@pytest.mark.parametrize("component", ["transformer", "text_encoder"])
def test_a_shard_that_is_missing_is_named(folder: Path, component: str) -> None:
    parts = shard(folder, component)
    next(file for file in parts.glob("*.safetensors") if "-of-" not in file.name).unlink()
    check_checkpoint(folder)
    (missing,) = parts.glob("*-00002-of-00002.safetensors")
    missing.unlink()
    with pytest.raises(ModelBroken, match=rf"{missing.name} is missing"):
        check_checkpoint(folder)


@pytest.mark.parametrize("value", [None, [None, None]])
@pytest.mark.parametrize("component", [*TENSORS, "scheduler", "tokenizer"])
def test_a_pipeline_without_one_of_its_parts_is_refused(folder: Path, component: str, value: object) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, component: value}))
    with pytest.raises(ModelBroken, match=f"lists no {component}"):
        check_checkpoint(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": []}'])
def test_an_index_of_shards_that_names_none_is_said(folder: Path, content: str) -> None:
    (folder / f"{WEIGHTS}.index.json").write_text(content)
    with pytest.raises(ModelBroken, match=r"safetensors\.index\.json is broken"):
        check_checkpoint(folder)


@pytest.mark.parametrize(("component", "reads"), [("connectors", "shards"), ("text_encoder", "whole")])
def test_of_weights_that_are_there_twice_the_copy_that_is_read_is_the_one_that_is_checked(
    folder: Path, component: str, reads: str
) -> None:
    for file in shard(folder, component).glob("*.safetensors"):
        if ("-of-" in file.name) != (reads == "shards"):
            file.write_bytes(b"")
    check_checkpoint(folder)
    Ltx2Model.load(str(folder), "cpu", folder.parent, ignore).close()


@pytest.mark.parametrize("component", TENSORS)
def test_weights_that_lack_a_tensor_are_not_rendered_with(folder: Path, component: str) -> None:
    """diffusers and transformers would continue, with uninitialized memory."""
    file, name = next((folder / component).glob("*.safetensors")), TENSORS[component]
    tensors = load_file(file)
    tensors["something.else"] = tensors.pop(name)
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ModelBroken, match=rf"{component} is broken: 1 tensors that its config requires are missing"):
        Ltx2Model.load(str(folder), "cpu", folder.parent, ignore)


def test_weights_of_another_shape_are_said(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors[TENSORS["transformer"]] = torch.zeros(3, 3)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(ModelBroken, match="could not be loaded, its files may be broken"):
        Ltx2Model.load(str(folder), "cpu", folder.parent, ignore)


def test_every_file_that_is_gone_or_damaged_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    names = sorted(str(file.relative_to(tiny_folder)) for file in tiny_folder.rglob("*") if file.is_file())
    assert len(names) > len(TENSORS)
    for name in names:
        if name == "text_encoder/generation_config.json":  # it is for text generation
            continue
        for damage in (None, b"", (tiny_folder / name).read_bytes()[:-5], b"\x00\xff"):
            with pytest.raises(ModelBroken, match=name.rpartition("/")[2]):
                check_checkpoint(spoilt(tiny_folder, tmp_path / "checkpoint", name, damage))


def spoilt(tiny_folder: Path, folder: Path, name: str, damage: bytes | None) -> Path:
    """A checkpoint of links in which one file is missing, or has the content of `damage`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tiny_folder, folder, copy_function=os.link)
    (folder / name).unlink()
    if damage is not None:
        (folder / name).write_bytes(damage)
    return folder


def test_what_rendering_does_not_use_may_be_broken(folder: Path) -> None:
    (folder / "prompt_enhancer").mkdir()
    (folder / "prompt_enhancer" / "model.safetensors").write_bytes(b"")
    check_checkpoint(folder)
