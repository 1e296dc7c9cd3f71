"""A text in two stages gives what a sequence of diffusers' own pipelines gives, on each distilled family."""

from pathlib import Path

from models.conditions import NO_CONDITIONS
from models.fixes import ALL
from models.ltx2.model import Ltx2Model
from models.progress import Progress, Stage
from tests.models.conftest import ignore
from tests.models.families import FamilyCase
from tests.models.reference import load
from tests.models.two_stages.conftest import in_two_stages_by_diffusers, upscaled

ROUNDING = 2e-5
"""In float32, of latents whose values are about 1."""


def test_a_text_gives_what_the_pipelines_of_diffusers_give(family: FamilyCase, folder: Path, plain: Ltx2Model) -> None:
    request = upscaled(plain)
    ours = plain._render_latents(request, NO_CONDITIONS, ignore)
    theirs = in_two_stages_by_diffusers(folder, family, request)
    assert ours.video.shape == theirs.video.shape == (1, 16, 3, 4, 4)
    assert (ours.video - theirs.video).abs().max() <= ROUNDING
    assert (ours.audio - theirs.audio).abs().max() <= ROUNDING


def test_the_second_stage_adds_no_noise_whatever_the_sampler_of_the_first(
    family: FamilyCase, folder: Path, tmp_path: Path
) -> None:
    """Lightricks' own pipeline of LTX-2.5 samples the first stage with new noise, and the second without."""
    model = load(family, folder, tmp_path, ALL)
    samplers: dict[Stage, str] = {}

    def note(progress: Progress) -> None:
        samplers[progress.stage] = type(model._text_to_video.scheduler).__name__

    model.render(upscaled(model), NO_CONDITIONS, note)
    ancestral = "use_keyframes_abs_pos_embedding" in model._text_to_video.transformer.config and bool(
        model._text_to_video.transformer.config.use_keyframes_abs_pos_embedding
    )
    assert samplers[Stage.DENOISING] == ("AncestralEuler" if ancestral else "FlowMatchEulerDiscreteScheduler")
    assert samplers[Stage.REFINING] == "FlowMatchEulerDiscreteScheduler"
    assert samplers[Stage.DECODING] == samplers[Stage.DENOISING]
    model.close()
