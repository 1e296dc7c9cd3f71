"""Promise: a LoRA that does not fit stops the load, and the message names the LoRA, the tensor and both shapes."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.errors import LoraUnusable, ModelNotFound
from models.lora.files import LoraFile, check_local_loras, fetch_loras, read_header
from models.lora.source import LoraSource
from models.lora.weights import LoraWeights, load_lora
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from tests.fake_hub import REPOSITORY, TAG, FakeHub
from tests.models.conftest import ignore
from tests.models.loras.conftest import LAYOUTS, Pairs, by_comfyui, by_diffusers, by_lightricks, draw_pairs, save

LAYER = "transformer_blocks.0.attn1.to_q"
LAYERS = (LAYER, "transformer_blocks.0.ff.net.0.proj", "proj_in", "time_embed.linear")


@pytest.fixture(scope="module")
def pairs(tiny_transformer: Any) -> Pairs:
    return draw_pairs(tiny_transformer, layers=LAYERS)


@pytest.fixture
def read(tiny_transformer: Any, tmp_path: Path) -> Callable[..., LoraWeights]:
    """A function that loads a LoRA with the given tensors."""

    def load(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> LoraWeights:
        header = read_header("style", save(tensors, tmp_path / "style.safetensors", metadata))
        return load_lora(header, tiny_transformer, torch.float32)

    return load


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_name_the_same_layers(read: Callable[..., LoraWeights], pairs: Pairs, layout: str) -> None:
    loaded = read(LAYOUTS[layout](pairs))
    assert set(loaded) == set(LAYERS)
    for name, (down, up) in pairs.items():
        assert torch.equal(loaded[name].down, down)
        assert torch.equal(loaded[name].up, up)
        assert loaded[name].factor == 1


def test_alpha_divided_by_the_rank_is_the_factor(read: Callable[..., LoraWeights], pairs: Pairs) -> None:
    assert {each.factor for each in read(by_comfyui(pairs, alpha=1.5)).values()} == {0.5}


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"transformer.lora_alpha": 6, "transformer.r": 3}, 2.0),
        ({"transformer.lora_alpha": 3, "transformer.use_rslora": True}, 3**0.5),
        ({"transformer.lora_alpha": 6, "transformer.alpha_pattern": {"attn1.to_q": 9}}, 3.0),
        ({}, 1.0),
    ],
)
def test_the_configuration_that_diffusers_saves_is_used(
    read: Callable[..., LoraWeights], pairs: Pairs, config: dict[str, object], factor: float
) -> None:
    loaded = read(by_diffusers(pairs), {"lora_adapter_metadata": json.dumps(config)})
    assert loaded[LAYER].factor == pytest.approx(factor)


def test_layers_may_have_different_ranks(read: Callable[..., LoraWeights], tiny_transformer: Any) -> None:
    pairs = draw_pairs(tiny_transformer, rank=2, layers=[LAYER]) | draw_pairs(tiny_transformer, layers=["proj_in"])
    assert {name: len(each.down) for name, each in read(by_lightricks(pairs)).items()} == {LAYER: 2, "proj_in": 3}


def wider(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, f"diffusion_model.{LAYER}.lora_A.weight": torch.zeros(3, 4096)}


def taller(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, f"diffusion_model.{LAYER}.lora_B.weight": torch.zeros(4096, 3)}


def of_other_ranks(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, f"diffusion_model.{LAYER}.lora_B.weight": torch.zeros(16, 5)}


def of_no_rank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"diffusion_model.{LAYER}.lora_{side}.weight": torch.zeros(0, 16) for side in "AB"}


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: each for name, each in tensors.items() if name != f"diffusion_model.{LAYER}.lora_B.weight"}


def with_more(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {**tensors, name: torch.zeros(3, 16)}


NEEDS = f"tensor diffusion_model.{LAYER}.lora_"
WRONG = {
    f"{NEEDS}A.weight has the shape 3x4096, and {LAYER} of this model needs 3x16": wider,
    f"{NEEDS}B.weight has the shape 4096x3, and {LAYER} of this model needs 16x3": taller,
    f"{NEEDS}B.weight has the shape 16x5, and {LAYER} of this model needs 16x3": of_other_ranks,
    f"{NEEDS}A.weight has the shape 0x16": of_no_rank,
    f"{LAYER} needs a pair of tensors, and the file has only diffusion_model.{LAYER}.lora_A.weight": halved,
    "the tensor diffusion_model.transformer_blocks.7.attn1.to_q.lora_A.weight is for transformer_blocks.7.attn1.to_q, "
    "which this model does not have: is it of another generation?": with_more(
        "diffusion_model.transformer_blocks.7.attn1.to_q.lora_A.weight"
    ),
    "the tensor text_embedding_projection.aggregate_embed.lora_A.weight changes how the text is read": with_more(
        "text_embedding_projection.aggregate_embed.lora_A.weight"
    ),
    f"the tensor diffusion_model.{LAYER}.dora_scale is not one of a LoRA": with_more(
        f"diffusion_model.{LAYER}.dora_scale"
    ),
    f"the tensor diffusion_model.{LAYER}.alpha has the shape 3x16, and one number is needed": with_more(
        f"diffusion_model.{LAYER}.alpha"
    ),
    "its file has no tensors": lambda _: {},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named_with_both_shapes(
    read: Callable[..., LoraWeights], pairs: Pairs, message: str
) -> None:
    with pytest.raises(LoraUnusable) as refused:
        read(WRONG[message](by_lightricks(pairs)))
    assert refused.value.message.startswith("LoRA style: ")
    assert message in refused.value.message
    assert not refused.value.retryable


def test_a_lora_that_does_not_fit_stops_the_load_of_the_model(cache_dir: Path, pairs: Pairs, tmp_path: Path) -> None:
    file = save(wider(by_lightricks(pairs)), tmp_path / "wide.safetensors")
    with pytest.raises(LoraUnusable, match="3x4096"):
        Ltx2Model.load("tiny", "cpu", cache_dir, ignore, LoadOptions(loras=(LoraSource("wide", file),)))


@pytest.mark.parametrize(
    ("metadata", "factor", "message"),
    [
        ({}, 1, None),
        ({}, 2, None),
        ({"reference_downscale_factor": "2"}, 2, None),
        ({"reference_downscale_factor": "2.0", "reference_temporal_scale_factor": "1"}, 2, None),
        ({"reference_downscale_factor": "2"}, None, None),
        ({"reference_downscale_factor": "2"}, 1, "reference_downscale_factor is 1 here, and its file says 2"),
        ({"reference_downscale_factor": "half"}, 1, "its file says half"),
        ({"reference_temporal_scale_factor": "4"}, 1, "reference_temporal_scale_factor is 1 here, and its file says 4"),
    ],
)
def test_the_settings_of_an_ic_lora_are_compared_with_its_file(
    pairs: Pairs, tmp_path: Path, metadata: dict[str, str], factor: int | None, message: str | None
) -> None:
    file = save(by_lightricks(pairs), tmp_path / "edges.safetensors", metadata or None)
    sources = (LoraSource("edges", file, reference_downscale_factor=factor),)
    if message is None:
        check_local_loras(sources)
        assert [each.name for each in fetch_loras(sources, tmp_path, ignore)] == ["edges"]
        return
    for check in (lambda: check_local_loras(sources), lambda: fetch_loras(sources, tmp_path, ignore)):
        with pytest.raises(LoraUnusable, match=message):
            check()


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    for name in ("style.pt", "style.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(LoraUnusable, match=r"style.pt must be a .safetensors file; other formats can run code"):
        check_local_loras([LoraSource("style", tmp_path / "style.pt")])
    with pytest.raises(LoraUnusable, match="cannot be read as safetensors"):
        check_local_loras([LoraSource("style", tmp_path / "style.safetensors")])
    with pytest.raises(LoraUnusable, match="LoRA style: there is no file"):
        check_local_loras([LoraSource("style", tmp_path / "nothing.safetensors")])


def test_a_folder_has_one_file_or_the_setting_names_it(pairs: Pairs, tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save(by_lightricks(pairs), tmp_path / name)
    with pytest.raises(LoraUnusable, match=r"the setting must name it; it has a.safetensors, b.safetensors"):
        check_local_loras([LoraSource("style", tmp_path)])
    (found,) = fetch_loras([LoraSource("style", tmp_path, file="b.safetensors")], tmp_path, ignore)
    assert found.file == tmp_path / "b.safetensors"


def test_a_lora_comes_from_the_hub_alone_without_the_other_files(hub: FakeHub, pairs: Pairs, tmp_path: Path) -> None:
    save(by_lightricks(pairs), hub.folder / "style.safetensors")
    source = LoraSource("style", repository=f"{REPOSITORY}@{TAG}", file="style.safetensors")
    (found,) = fetch_loras([source], tmp_path / "cache", ignore)
    assert len(found.shapes) == 2 * len(LAYERS)
    assert hub.served == ["style.safetensors"]
    with pytest.raises(LoraUnusable, match=r"it has ltx-2-19b-dev.safetensors, style"):
        fetch_loras([LoraSource("style", repository=REPOSITORY)], tmp_path / "other", ignore)
    with pytest.raises(ModelNotFound):
        fetch_loras([LoraSource("style", repository="nobody/nothing")], tmp_path / "cache", ignore)


def test_a_lora_of_the_hub_is_used_from_this_machine_when_the_hub_is_away(
    hub: FakeHub, pairs: Pairs, tmp_path: Path
) -> None:
    for each in hub.folder.glob("*.safetensors"):
        each.unlink()
    save(by_lightricks(pairs), hub.folder / "style.safetensors")
    source = LoraSource("style", repository=REPOSITORY)
    (found,) = fetch_loras([source], tmp_path / "cache", ignore)
    hub.misbehaviour.down = True
    shutil.rmtree(hub.folder)
    assert fetch_loras([source], tmp_path / "cache", ignore) == (found,)


def test_its_size_counts_what_is_held(pairs: Pairs, tmp_path: Path) -> None:
    header: LoraFile = read_header("style", save(by_lightricks(pairs), tmp_path / "style.safetensors"))
    numbers = sum(down.numel() + up.numel() for down, up in pairs.values())
    assert header.size_bytes("float32") == 4 * numbers
    assert header.size_bytes("bfloat16") == 2 * numbers
