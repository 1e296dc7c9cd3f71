"""Two stages together with previews, with LoRAs, and with a video as the source."""

from pathlib import Path

import numpy as np
import torch

from models.conditions import NO_CONDITIONS, ClipCondition, Conditions, ControlCondition
from models.lora.lora_linear import LoraLinear
from models.lora.source import LoraSource
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.preview import UNLIMITED, Preview, PreviewOptions
from models.progress import Progress, Stage
from models.request.edits import video_to_video
from models.yuv import rgb_to_planes
from tests.models.conftest import ignore, raise_it
from tests.models.families import FamilyCase
from tests.models.loras.conftest import RANK, by_lightricks, draw_pairs, picked, save, transformer_of
from tests.models.reference import load
from tests.models.two_stages.conftest import upscaled

FRAMES, SIDE = 17, 128


def source(seed: int, strength: float) -> Conditions:
    pixels = np.random.default_rng(seed).integers(0, 256, (FRAMES, 4, 4, 3), dtype=np.uint8)
    planes = rgb_to_planes(pixels.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2))
    return Conditions(clip=ClipCondition(planes, None, video_to_video(FRAMES, strength)))


def test_previews_are_made_in_the_first_stage_and_change_nothing(plain: Ltx2Model) -> None:
    made: list[Preview] = []
    without = plain.render(upscaled(plain), NO_CONDITIONS, ignore)
    seen = plain.render(upscaled(plain), NO_CONDITIONS, ignore, PreviewOptions(made.append, raise_it, UNLIMITED))
    assert np.array_equal(seen.frames, without.frames)
    assert [each.step for each in made] == [1, 3, 4, 6]


def test_a_lora_acts_in_both_stages(family: FamilyCase, folder: Path, tmp_path: Path) -> None:
    first = load(family, folder, tmp_path)
    file = save(by_lightricks(draw_pairs(transformer_of(first))), tmp_path / "one.safetensors")
    first.close()
    with_one = LoadOptions(checkpoint_type=family.checkpoint_type, loras=(LoraSource("one", file),))
    model = Ltx2Model.load(str(folder), "cpu", tmp_path, ignore, with_one)
    wrapped: dict[Stage, int] = {}

    def count(progress: Progress) -> None:
        layers = transformer_of(model).modules()
        wrapped[progress.stage] = sum(type(layer).__name__ == "LoraLinear" for layer in layers)

    plain = model._render_latents(upscaled(model), NO_CONDITIONS, ignore)
    changed = model._render_latents(upscaled(model, loras=picked(one=1.0)), NO_CONDITIONS, count)
    again = model._render_latents(upscaled(model), NO_CONDITIONS, ignore)
    model.close()
    assert wrapped[Stage.DENOISING] > 0
    assert wrapped[Stage.REFINING] == wrapped[Stage.DENOISING]
    assert not torch.equal(changed.video, plain.video)
    assert torch.equal(again.video, plain.video)


def test_video_to_video_starts_from_its_source_and_refines_all_steps(plain: Ltx2Model) -> None:
    def latents(seed: int, strength: float) -> torch.Tensor:
        given, request = source(seed, strength), upscaled(plain)
        return plain._render_latents(given.rendered_request(request), given.within(request), told.append).video

    told: list[Progress] = []
    one, other = latents(1, 0.6), latents(2, 0.6)
    assert one.shape == (1, 16, 3, 4, 4)
    assert not torch.equal(one, other)
    assert max(each.step or 0 for each in told if each.stage is Stage.DENOISING) == 3
    assert max(each.step or 0 for each in told if each.stage is Stage.REFINING) == 3


def test_only_the_first_stage_follows_a_control_video(family: FamilyCase, folder: Path, tmp_path: Path) -> None:
    """As in Lightricks' pipeline: the second stage has neither the control video nor its LoRA."""
    first = load(family, folder, tmp_path)
    file = save(by_lightricks(draw_pairs(transformer_of(first))), tmp_path / "edges.safetensors")
    first.close()
    sources = (LoraSource("edges", file, reference_downscale_factor=1), LoraSource("style", file))
    options = LoadOptions(checkpoint_type=family.checkpoint_type, loras=sources)
    model = Ltx2Model.load(str(folder), "cpu", tmp_path, ignore, options)
    calls: list[tuple[int, int]] = []

    def note(transformer: torch.nn.Module, _args: object, call: dict[str, torch.Tensor]) -> None:
        ranks = {layer.down.shape[0] for layer in transformer.modules() if isinstance(layer, LoraLinear)}
        calls.append((call["hidden_states"].shape[1], max(ranks, default=0)))

    transformer_of(model).register_forward_pre_hook(note, with_kwargs=True)
    pixels = np.random.default_rng(3).integers(0, 256, (FRAMES, SIDE // 2, SIDE // 2, 3), dtype=np.uint8)
    given = Conditions(control=ControlCondition(rgb_to_planes(pixels), "edges"))
    model._render_latents(upscaled(model, loras=picked(edges=1.0, style=0.5)), given, ignore)
    model.close()
    one, rank = 3 * 2 * 2, RANK
    assert dict.fromkeys(calls) == {(2 * one, 2 * rank): None, (4 * one, rank): None}
