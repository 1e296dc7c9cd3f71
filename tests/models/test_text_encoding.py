"""Promise: text encoding does only the work that its embeddings need, and they stay the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from diffusers import LTX2Pipeline
from diffusers.hooks import group_offloading

from models.checkpoint.files import INDEX, OF_TRANSFORMERS
from models.checkpoint.profile import read_profile
from models.checkpoint.sizes import measure_sizes
from models.checkpoint.validate import read_object
from models.conditions import NO_CONDITIONS
from models.ltx2.load import load_pipeline
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory import offload
from models.memory.offload_plan import OffloadMode, plan
from models.optimizations.selection import OFF
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES
from tests.models.optimizations.conftest import distance

PLENTY = 2**62
ROUNDING = 1e-4
"""Some processors round a product of two rows otherwise than two products of one. Other texts differ by 0.05."""


@pytest.fixture(scope="module", params=["tiny", "2.3", "2.5"])
def folder(request: Any, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "tiny":
        return tiny_folder
    return FAMILIES[request.param].build(tmp_path_factory.mktemp("family") / "model")


def encode(pipe: Any, text: str) -> torch.Tensor:
    with torch.no_grad():
        return pipe._get_gemma_prompt_embeds(text)[0]


def test_logits_are_not_computed_and_the_embeddings_are_the_same(folder: Path) -> None:
    served = load_pipeline(folder, read_profile(folder), "cpu")
    kind = getattr(transformers, read_object(folder / INDEX)[OF_TRANSFORMERS][1])
    whole = kind.from_pretrained(folder / OF_TRANSFORMERS, dtype=served.text_encoder.dtype)
    expected = encode(LTX2Pipeline(**{**served.components, "text_encoder": whole}), "a cat")
    assert torch.equal(encode(served, "a cat"), expected)
    read = served.text_encoder(input_ids=torch.ones(1, 8, dtype=torch.int64))
    assert read.logits.shape[-1] != whole.lm_head.out_features
    assert not hasattr(served.text_encoder.lm_head, "weight")


def streaming(folder: Path) -> Ltx2Model:
    """A model with a streamed text encoder."""
    pipe = load_pipeline(folder, read_profile(folder), "cpu")
    placed = plan(PLENTY, PLENTY, measure_sizes(folder), place=OffloadMode.TEXT_ENCODER)
    offload.apply(pipe, placed, device="cpu")
    return Ltx2Model("tiny", read_profile(folder), pipe, placed)


def latents(model: Ltx2Model, **fields: object) -> Any:
    return model._denoise(small(**fields), NO_CONDITIONS, ignore)


def test_a_text_encoder_that_streams_is_read_once_for_both_texts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resident, model = Ltx2Model.load(str(folder), "cpu", tmp_path, ignore), streaming(folder)
    text_encoder = model._text_to_video.text_encoder
    ours = {id(weight) for weight in text_encoder.parameters()}
    passed: list[int] = []
    plain = group_offloading.ModuleGroup._onload_from_memory

    def count(group: Any) -> None:
        weights = [weight for module in group.modules for weight in module.parameters()]
        passed.extend(id(weight) for weight in (*weights, *group.parameters) if id(weight) in ours)
        plain(group)

    monkeypatch.setattr(group_offloading.ModuleGroup, "_onload_from_memory", count)
    for prompt, negative in (("a cat", "fog"), ("a dog", "fog"), ("a dog", "rain")):
        words = {"prompt": prompt, "negative_prompt": negative}
        passed.clear()
        assert distance(latents(model, **words), latents(resident, **words)) < ROUNDING
        assert passed
        assert len(passed) == len(set(passed)), "each weight passes once"


def test_a_text_without_padding_is_read_alone(tiny_folder: Path, tmp_path: Path) -> None:
    """Alone it gets no mask; beside a shorter text it would get one."""
    options = LoadOptions(optimizations=OFF)
    resident, model = Ltx2Model.load(str(tiny_folder), "cpu", tmp_path, ignore, options), streaming(tiny_folder)
    calls: list[int] = []
    model._text_to_video.text_encoder.register_forward_pre_hook(
        lambda _module, _args, call: calls.append(len(call["input_ids"])), with_kwargs=True
    )
    long = "x" * 1100
    assert distance(latents(model, prompt=long), latents(resident, prompt=long)) == 0
    assert calls == [1, 1]
    new = {"prompt": "a dog", "negative_prompt": "fog"}
    assert distance(latents(model, **new), latents(resident, **new)) == 0
    assert calls == [1, 1, 2]
