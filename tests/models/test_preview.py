"""Previews: when one is made, what it shows, and that it never changes or fails a render."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.conditions import NO_CONDITIONS, ClipCondition, Conditions, ImageCondition, first_frame
from models.errors import GpuOutOfMemory
from models.ltx2 import preview as ltx2_preview
from models.ltx2.model import Ltx2Model
from models.ltx2.preview import LatentWindow, choose_window
from models.memory import offload
from models.memory.estimate import decode_bytes
from models.memory.offload_plan import OffloadMode, Placement
from models.preview import UNLIMITED, Preview, PreviewBudget, PreviewCost, PreviewOptions, preview_steps
from models.request.edits import Edit
from models.request.places import Place
from tests.models.conftest import ignore, raise_it, small
from tests.models.families import FamilyCase
from tests.models.reference import load, make_image

PIXELS = 1000


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def collecting(previews: list[Preview]) -> PreviewOptions:
    return PreviewOptions(previews.append, raise_it, UNLIMITED)


def warm(seconds: float) -> PreviewCost:
    """The cost on a process that has made previews."""
    cost = PreviewCost()
    for _ in range(2):
        cost.record(PIXELS, seconds)
    return cost


def made(budget: PreviewBudget, clock: Clock, *, steps: int, step_s: float, preview_s: float) -> list[int]:
    """The steps after which a preview is made, where a step and a preview take these seconds."""
    found = []
    for step in range(1, steps + 1):
        clock.now_s += step_s
        if budget.is_due(step):
            found.append(step)
            clock.now_s += preview_s
            budget.record(preview_s)
    return found


@pytest.mark.parametrize(
    ("num_steps", "steps"), [(40, (4, 12, 20, 28, 36)), (8, (1, 3, 4, 6)), (4, (1, 2, 3)), (2, (1,)), (1, ())]
)
def test_previews_are_spread_over_the_steps_and_never_come_after_the_last(
    num_steps: int, steps: tuple[int, ...]
) -> None:
    assert preview_steps(num_steps) == steps


def test_cheap_previews_are_all_made() -> None:
    clock = Clock()
    budget = PreviewBudget(40, PIXELS, 0.02, warm(0.01), clock)
    assert made(budget, clock, steps=40, step_s=1.0, preview_s=0.01) == [4, 12, 20, 28, 36]


def test_an_expensive_preview_waits_until_the_time_that_has_passed_pays_for_it() -> None:
    clock = Clock()
    budget = PreviewBudget(40, PIXELS, 0.02, warm(0.3), clock)
    steps = made(budget, clock, steps=40, step_s=1.0, preview_s=0.3)
    assert steps == [15, 30]
    assert len(steps) * 0.3 <= 0.02 * clock.now_s


def test_a_preview_that_costs_more_than_the_render_allows_is_never_made() -> None:
    clock = Clock()
    budget = PreviewBudget(8, PIXELS, 0.02, warm(0.3), clock)
    assert made(budget, clock, steps=8, step_s=0.5, preview_s=0.3) == []


def test_the_first_preview_of_a_process_does_not_count_as_the_cost_of_the_next() -> None:
    cost = PreviewCost()
    cost.record(PIXELS, 9.0)
    assert cost.estimate_s(PIXELS) == 0
    cost.record(PIXELS, 0.5)
    cost.record(PIXELS, 4.0)
    assert cost.estimate_s(2 * PIXELS) == 1.0


@pytest.fixture(scope="module")
def any_model(family: FamilyCase, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    model = load(family, folder, tmp_path_factory.mktemp("cache"))
    yield model
    model.close()


WITH_APPENDED = Conditions((ImageCondition(make_image(), Place(16, 1.0)),))
WEAK = Conditions((ImageCondition(make_image(), Place(0, 0.5)), ImageCondition(make_image(), Place(16, 1.0))))

given = pytest.mark.parametrize(
    "conditions",
    [NO_CONDITIONS, first_frame(make_image()), WITH_APPENDED, WEAK],
    ids=["text", "image", "last image", "weak first image"],
)


@given
@pytest.mark.parametrize("quality", ["exact", "fast"])
def test_a_clip_is_the_same_to_the_bit_with_previews(
    any_model: Ltx2Model, conditions: Conditions, quality: str
) -> None:
    request = small(num_frames=17, num_inference_steps=3, quality=quality)
    previews: list[Preview] = []
    with_previews = any_model.render(request, conditions, ignore, collecting(previews))
    without = any_model.render(request, conditions, ignore)
    assert np.array_equal(with_previews.frames, without.frames)
    assert np.array_equal(with_previews.audio, without.audio)
    assert previews
    assert {each.frame.shape for each in previews} == {(64, 128, 3)}
    assert not np.array_equal(previews[0].frame, previews[-1].frame)


@pytest.mark.parametrize(
    ("conditions", "frame"), [(NO_CONDITIONS, 0), (WITH_APPENDED, 0), (first_frame(make_image()), 8)]
)
def test_the_preview_of_the_last_step_is_a_frame_of_the_video(
    any_model: Ltx2Model, conditions: Conditions, frame: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latent frames that a preview decodes are all of this video, so the decoder sees the same."""
    monkeypatch.setattr("models.preview.preview_steps", lambda num_steps: (num_steps,))
    previews: list[Preview] = []
    request = small(num_frames=9, num_inference_steps=3)
    latents: list[Any] = []
    decode = any_model._decode_frames
    monkeypatch.setattr(any_model, "_decode_frames", lambda *given: latents.append(given[0].video) or decode(*given))
    any_model.render(request, conditions, ignore, collecting(previews))
    (preview,) = previews
    with torch.no_grad():
        video = any_model._text_to_video.vae.decode(latents[0][:, :, : 1 + frame // 8], None, return_dict=False)[0]
    expected = (video[0, :, -1].float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(preview.frame - expected).max() <= 1


def source(edit: Edit) -> Conditions:
    """A source of 33 frames, which are five latent frames."""
    frames = np.random.default_rng(4).integers(0, 256, (33, 96, 128), dtype=np.uint8)
    return Conditions(clip=ClipCondition(frames, None, edit))


def test_a_part_that_is_made_anew_is_shown_with_what_is_before_it(any_model: Ltx2Model) -> None:
    retake, request = source(Edit(9, 17, replaces_audio=False)), small(num_frames=33, num_inference_steps=3)
    window = choose_window(request, retake.within(request))
    assert window is not None
    assert (window.first, window.count) == (1, 2), "the third latent frame holds frames 9 to 16"
    previews: list[Preview] = []
    with_previews = any_model.render(request, retake, ignore, collecting(previews))
    assert np.array_equal(with_previews.frames, any_model.render(request, retake, ignore).frames)
    assert previews


def test_given_frames_have_no_preview(model: Ltx2Model) -> None:
    new_audio = source(Edit(0, 33, replaces_video=False))
    previews: list[Preview] = []
    model.render(small(num_frames=33), new_audio, ignore, collecting(previews))
    assert previews == []


def test_a_streamed_vae_makes_the_same_previews(model: Ltx2Model, cache_dir: Path) -> None:
    """It passes through the device for each preview, and for the whole video after them."""
    streamed = Ltx2Model.load("tiny", "cpu", cache_dir, ignore)
    offload.apply(streamed._text_to_video, Placement(OffloadMode.BLOCK, 0, 0), device="cpu")
    expected: list[Preview] = []
    previews: list[Preview] = []
    request = small(num_inference_steps=4)
    whole = model.render(request, NO_CONDITIONS, ignore, collecting(expected))
    assert np.array_equal(streamed.render(request, NO_CONDITIONS, ignore, collecting(previews)).frames, whole.frames)
    assert [each.step for each in previews] == [1, 2, 3]
    assert all(np.array_equal(one.frame, other.frame) for one, other in zip(previews, expected, strict=True))
    streamed.close()


def test_a_preview_needs_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    window = LatentWindow(first=0, count=1, height=16, width=24)
    needed = decode_bytes(512, 768, 1)
    monkeypatch.setattr(ltx2_preview, "usable_vram_bytes", lambda: needed)
    ltx2_preview._check_memory(window)
    monkeypatch.setattr(ltx2_preview, "usable_vram_bytes", lambda: needed - 1)
    with pytest.raises(GpuOutOfMemory):
        ltx2_preview._check_memory(window)


def test_a_large_frame_is_made_small_and_keeps_its_shape(model: Ltx2Model) -> None:
    previews: list[Preview] = []
    model.render(small(height=256, width=512), NO_CONDITIONS, ignore, collecting(previews))
    assert {each.frame.shape for each in previews} == {(128, 256, 3)}


def test_an_error_of_a_preview_is_told_once_and_the_render_goes_on(
    model: Ltx2Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out_of_memory(*_given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    request = small(num_inference_steps=4)
    expected = model.render(request, NO_CONDITIONS, ignore)
    errors: list[Exception] = []
    monkeypatch.setattr(ltx2_preview, "_decode", run_out_of_memory)
    options = PreviewOptions(lambda preview: None, errors.append, UNLIMITED)
    assert np.array_equal(model.render(request, NO_CONDITIONS, ignore, options).frames, expected.frames)
    assert [type(each) for each in errors] == [torch.OutOfMemoryError]
    monkeypatch.undo()
    previews: list[Preview] = []
    model.render(request, NO_CONDITIONS, ignore, collecting(previews))
    assert len(previews) == 3, "the next task has previews again"
