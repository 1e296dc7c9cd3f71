"""Promise: a LoRA does what its matrices say, to the request that picks it and to no other.

What is right is a model whose weights have the LoRA merged into them: W + scale x up x down.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.checkpoint.profile import Family
from models.conditions import NO_CONDITIONS, first_frame
from models.errors import InvalidRequest, TaskCanceled
from models.fixes import ALL
from models.lora.source import LoraSource
from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.optimizations.selection import ALWAYS_FASTER, OFF
from models.progress import Progress, Stage
from models.request.loras import LoraChoice
from tests.models.conftest import ignore, small
from tests.models.families import FamilyCase
from tests.models.loras.conftest import (
    LAYOUTS,
    Pairs,
    by_lightricks,
    draw_pairs,
    merge,
    picked,
    same,
    save,
    transformer_of,
)
from tests.models.optimizations.conftest import distance
from tests.models.reference import load, make_image

ROUNDING = 5e-5
"""In float32, of latents whose values are about 1."""
VISIBLE = 0.01

TWO = {"one": 1, "two": 2}
"""The LoRAs of the module's models, and the seeds of their pairs."""


@pytest.fixture(scope="module", params=["2.0", "2.3", "2.5"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pairs(folder: Path, family: FamilyCase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pairs]:
    model = load(family, folder, tmp_path_factory.mktemp("cache"))
    drawn = {name: draw_pairs(transformer_of(model), seed, rank=seed + 1) for name, seed in TWO.items()}
    model.close()
    return drawn


@pytest.fixture(scope="module")
def model(
    family: FamilyCase, folder: Path, pairs: dict[str, Pairs], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ltx2Model]:
    model = with_loras(family, folder, pairs, tmp_path_factory.mktemp("loras"))
    yield model
    model.close()


def with_loras(family: FamilyCase, folder: Path, pairs: dict[str, Pairs], files: Path) -> Ltx2Model:
    sources = tuple(
        LoraSource(name, save(by_lightricks(each), files / f"{name}.safetensors")) for name, each in pairs.items()
    )
    options = LoadOptions(checkpoint_type=family.checkpoint_type, fixes=ALL, loras=sources, optimizations=OFF)
    return Ltx2Model.load(str(folder), "cpu", files, ignore, options)


def merged(family: FamilyCase, folder: Path, cache_dir: Path, *loras: tuple[Pairs, float]) -> Ltx2Model:
    model = load(family, folder, cache_dir, ALL)
    for pairs, scale in loras:
        merge(transformer_of(model), pairs, scale)
    return model


def denoise(model: Ltx2Model, *choices: LoraChoice, image: bool = False, **fields: object) -> Latents:
    given = first_frame(make_image()) if image else NO_CONDITIONS
    return model._denoise(small(num_inference_steps=3, loras=choices, **fields), given, ignore)


@pytest.mark.parametrize("image", [False, True], ids=["text", "image"])
def test_it_renders_as_if_its_matrices_were_in_the_weights(
    family: FamilyCase, folder: Path, model: Ltx2Model, pairs: dict[str, Pairs], tmp_path: Path, *, image: bool
) -> None:
    plain = denoise(model, image=image)
    for scales in ({"one": 1.0}, {"two": 0.5}, {"one": 0.7, "two": 1.3}):
        changed = denoise(model, *picked(**scales), image=image)
        assert distance(changed, plain) > VISIBLE
        reference = merged(family, folder, tmp_path, *((pairs[name], scale) for name, scale in scales.items()))
        assert distance(changed, denoise(reference, image=image)) <= ROUNDING
        reference.close()


def test_a_request_without_loras_or_with_a_scale_of_0_is_that_of_the_plain_model_to_the_bit(
    family: FamilyCase, folder: Path, model: Ltx2Model, tmp_path: Path
) -> None:
    plain = load(family, folder, tmp_path, ALL)
    expected = denoise(plain)
    assert same(denoise(model), expected)
    assert same(denoise(model, *picked(one=0.0, two=0.0)), expected)
    assert not same(denoise(model, *picked(one=1.0)), expected)
    plain.close()


def test_requests_with_other_loras_before_it_change_no_bit(
    family: FamilyCase, folder: Path, pairs: dict[str, Pairs], model: Ltx2Model, tmp_path: Path
) -> None:
    fresh = {}
    for number, choices in enumerate([picked(one=1.0), (), picked(two=0.5)]):
        (tmp_path / str(number)).mkdir()
        alone = with_loras(family, folder, pairs, tmp_path / str(number))
        fresh[choices] = denoise(alone, *choices)
        alone.close()
    one, none, two = fresh
    for choices in (one, none, two, one, none, two, two, none):
        assert same(denoise(model, *choices), fresh[choices])


def test_the_order_of_loras_does_not_matter(model: Ltx2Model) -> None:
    one, two = picked(one=1.0, two=0.5)
    assert distance(denoise(model, one, two), denoise(model, two, one)) <= ROUNDING


def test_a_camera_motion_is_the_lora_of_its_name(model: Ltx2Model) -> None:
    assert same(denoise(model, camera_motion="one"), denoise(model, *picked(one=1.0)))


def test_a_canceled_render_leaves_no_lora_behind(model: Ltx2Model) -> None:
    plain = denoise(model)

    def cancel(progress: Progress) -> None:
        if progress.stage is Stage.DENOISING and progress.step == 1:
            raise TaskCanceled("canceled")

    with pytest.raises(TaskCanceled):
        model.render(small(loras=picked(one=1.0)), NO_CONDITIONS, cancel)
    assert same(denoise(model), plain)


def test_it_can_be_applied_to_a_part_of_the_steps(model: Ltx2Model) -> None:
    """As a second stage needs it. On top of those of the request, and gone when the context ends."""
    expected = denoise(model, *picked(one=1.0, two=0.5))
    with model.loras.applied(picked(one=1.0)):
        assert distance(denoise(model, *picked(two=0.5)), expected) <= ROUNDING
        assert same(denoise(model), denoise(model))
    assert not same(denoise(model), expected)


def test_a_name_that_is_not_loaded_is_refused(model: Ltx2Model) -> None:
    with pytest.raises(InvalidRequest, match=r'loras must be the name of a loaded LoRA: one, two; "three" was given'):
        denoise(model, *picked(three=1.0))


def test_whatever_is_sped_up_stays_within_rounding(
    family: FamilyCase, folder: Path, model: Ltx2Model, pairs: dict[str, Pairs], tmp_path: Path
) -> None:
    """Kept keys of the text include the LoRA of one request, and not of the next."""
    fast = with_loras(family, folder, pairs, tmp_path)
    fast.apply_optimizations(ALWAYS_FASTER)
    for choices in (picked(one=1.0), (), picked(two=0.5), picked(one=0.3, two=1.0)):
        for image in (False, True):
            assert distance(denoise(fast, *choices, image=image), denoise(model, *choices, image=image)) <= ROUNDING
    assert fast.profile.family is not Family.LTX_2_0 or "text_kv_cache" in fast.optimizations
    fast.close()


def test_a_fast_task_takes_them_too(
    family: FamilyCase, folder: Path, model: Ltx2Model, pairs: dict[str, Pairs], tmp_path: Path
) -> None:
    reference = merged(family, folder, tmp_path, (pairs["one"], 1.0))
    fast = denoise(model, *picked(one=1.0), quality="fast")
    assert distance(fast, denoise(reference, quality="fast")) <= ROUNDING
    reference.close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_video(
    family: FamilyCase, folder: Path, model: Ltx2Model, pairs: dict[str, Pairs], tmp_path: Path, *, layout: str
) -> None:
    file = save(LAYOUTS[layout](pairs["one"]), tmp_path / "one.safetensors")
    options = LoadOptions(checkpoint_type=family.checkpoint_type, loras=(LoraSource("one", file),))
    other = Ltx2Model.load(str(folder), "cpu", tmp_path, ignore, options)
    rank = 2
    factor = 3.0 / rank if layout in ("ComfyUI", "kohya") else 1.0
    assert distance(denoise(other, *picked(one=1.0)), denoise(model, *picked(one=factor))) <= ROUNDING
    other.close()
