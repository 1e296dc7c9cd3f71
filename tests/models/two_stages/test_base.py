"""Two stages of base checkpoints: a guided one, and one with the distilled LoRA and without guidance."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models.conditions import NO_CONDITIONS, Conditions, first_frame
from models.fixes import NONE
from models.lora.distilled import AUTO, OFF
from models.lora.source import LoraSource
from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.progress import Progress, Stage
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES, FamilyCase, add_upsampler
from tests.models.loras.conftest import Pairs, by_lightricks, draw_pairs, picked, same, save, transformer_of
from tests.models.reference import load_pipeline
from tests.models.two_stages.conftest import in_two_stages_by_diffusers, upscaled
from tests.models.two_stages.test_given import CLOSE, SIDE, encoded, image_of

ROUNDING = 2e-5
"""In float32, of latents whose values are about 1."""
BASE = tuple(name for name, case in FAMILIES.items() if not case.distilled)
STEPS = 2
PUBLISHED = "x-distilled-lora-384.safetensors"


@pytest.fixture(scope="module", params=BASE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: FamilyCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = family.build(tmp_path_factory.mktemp("family"))
    add_upsampler(folder)
    return folder


@pytest.fixture(scope="module")
def pairs(folder: Path, family: FamilyCase) -> Pairs:
    pipe = load_pipeline(folder, family, torch.float32, from_image=False)
    return draw_pairs(pipe.transformer)


@pytest.fixture(scope="module")
def with_lora(folder: Path, pairs: Pairs) -> Path:
    """The same folder, once the distilled LoRA lies in it."""
    (folder / "loras").mkdir()
    of_the_text = {"text_embedding_projection.aggregate_embed.lora_A.weight": torch.ones(2, 2)}
    save(by_lightricks(pairs) | of_the_text, folder / "loras" / PUBLISHED)
    return folder


def options(family: FamilyCase, **more: Any) -> LoadOptions:
    return LoadOptions(checkpoint_type=family.checkpoint_type, fixes=NONE, **{"distilled_lora": AUTO, **more})


@pytest.fixture(scope="module")
def base(family: FamilyCase, with_lora: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    model = Ltx2Model.load(str(with_lora), "cpu", tmp_path_factory.mktemp("cache"), ignore, options(family))
    yield model
    model.close()


def latents(model: Ltx2Model, given: Conditions = NO_CONDITIONS, **fields: object) -> Latents:
    return model._render_latents(upscaled(model, **fields), given, ignore)


def test_a_text_gives_what_the_pipelines_of_diffusers_give_with_the_lora_in_the_weights(
    family: FamilyCase, with_lora: Path, base: Ltx2Model, pairs: Pairs
) -> None:
    request = upscaled(base)
    ours = base._render_latents(request, NO_CONDITIONS, ignore)
    theirs = in_two_stages_by_diffusers(with_lora, family, request, pairs)
    assert ours.video.shape == theirs.video.shape == (1, 16, 3, 4, 4)
    assert (ours.video - theirs.video).abs().max() <= ROUNDING
    assert (ours.audio - theirs.audio).abs().max() <= ROUNDING


def loras_in(model: Ltx2Model) -> int:
    return sum(type(layer).__name__ == "LoraLinear" for layer in transformer_of(model).modules())


def test_the_lora_acts_in_the_second_stage_alone_and_beside_those_of_the_request(
    family: FamilyCase, with_lora: Path, pairs: Pairs, tmp_path: Path
) -> None:
    file = save(by_lightricks(pairs), tmp_path / "own.safetensors")
    asked = options(family, loras=(LoraSource("own", file),))
    model = Ltx2Model.load(str(with_lora), "cpu", tmp_path, ignore, asked)
    layers: dict[Stage, int] = {}
    for choices, factor in ((picked(), 0), (picked(own=1.0), 1)):
        model.render(
            upscaled(model, loras=choices), NO_CONDITIONS, lambda at: layers.update({at.stage: loras_in(model)})
        )
        assert layers[Stage.DENOISING] == factor * len(pairs)
        assert layers[Stage.REFINING] == (factor + 1) * len(pairs)
        assert layers[Stage.UPSCALING] == layers[Stage.DECODING] == 0
    model.close()


def test_who_does_not_ask_gets_the_bits_of_a_server_without_the_lora(
    family: FamilyCase, with_lora: Path, base: Ltx2Model, tmp_path: Path
) -> None:
    without = Ltx2Model.load(str(with_lora), "cpu", tmp_path, ignore, options(family, distilled_lora=OFF))
    latents(base)
    request = small(seed=1)
    one, other = (model._render_latents(request, NO_CONDITIONS, ignore) for model in (base, without))
    without.close()
    assert same(one, other)


def test_an_image_is_kept_at_full_size_in_the_second_stage(base: Ltx2Model) -> None:
    image = image_of(1)
    given = latents(base, first_frame(image))
    assert (given.video[:, :, :1] - encoded(base, image, SIDE)).abs().max() <= CLOSE


def test_progress_never_falls_and_the_guided_stage_takes_most_of_it(base: Ltx2Model) -> None:
    told: list[Progress] = []
    request = upscaled(base)
    base.render(request, NO_CONDITIONS, told.append)
    fractions = [each.fraction(STEPS, upscaled=True, guided=request.is_guided) for each in told]
    assert fractions == sorted(fractions)
    assert max(f for f, each in zip(fractions, told, strict=True) if each.stage is Stage.DENOISING) == 0.75
    assert [each.step for each in told if each.stage is Stage.DENOISING and each.step] == [1, 2]
    assert [each.step for each in told if each.stage is Stage.REFINING and each.step] == [1, 2, 3]


def test_each_text_is_encoded_once(base: Ltx2Model) -> None:
    read: list[int] = []
    encoder: Any = base._text_to_video.text_encoder
    hook = encoder.register_forward_pre_hook(
        lambda _encoder, _args, given: read.append(len(given["input_ids"])), with_kwargs=True
    )
    latents(base, prompt="a text that no other test has")
    hook.remove()
    assert sum(read) <= 2, read


def test_a_fast_task_skips_guidance_in_the_first_stage(base: Ltx2Model) -> None:
    exact, fast = latents(base), latents(base, quality="fast")
    assert not torch.equal(exact.video, fast.video)
    assert base.fast_summary == f"guidance on 1 of {STEPS} steps"


def test_the_scale_of_the_setting_is_that_of_the_second_stage(
    family: FamilyCase, with_lora: Path, base: Ltx2Model, tmp_path: Path
) -> None:
    half = Ltx2Model.load(str(with_lora), "cpu", tmp_path, ignore, options(family, distilled_lora_scale=0.5))
    one, other = latents(base), latents(half)
    half.close()
    assert not torch.equal(one.video, other.video)
