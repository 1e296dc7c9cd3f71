"""The upsampler is found, counted and placed as a component, and two stages work under each placement and speed-up."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel

from models.checkpoint.profile import CheckpointType, read_profile
from models.checkpoint.sizes import measure_sizes
from models.checkpoint.upsampler import AUTO, OFF, note_upsampler
from models.conditions import first_frame
from models.errors import InvalidRequest, ModelBroken, ModelNotFound, ModelUnavailable
from models.fixes import ALL
from models.ltx2.load import load_pipeline
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory import offload
from models.memory.offload_plan import OFFLOADED_COMPONENTS, UPSAMPLER, OffloadMode, Placement, gpu_placements
from models.optimizations.selection import OFF as NO_OPTIMIZATIONS
from tests.fake_hub import REPOSITORY, FakeHub
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES, add_upsampler
from tests.models.two_stages.conftest import distance_between, placed, upscaled
from tests.models.two_stages.test_given import image_of

ROUNDING = 2e-5
FAMILY = FAMILIES["2.3 distilled"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = FAMILY.build(tmp_path_factory.mktemp("family"))
    add_upsampler(folder)
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    model = Ltx2Model.load(
        str(folder), "cpu", tmp_path_factory.mktemp("cache"), ignore, LoadOptions(optimizations=NO_OPTIMIZATIONS)
    )
    yield model
    model.close()


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.parametrize("mode", list(OFFLOADED_COMPONENTS))
def test_every_placement_renders_the_same(folder: Path, whole: Ltx2Model, mode: OffloadMode) -> None:
    model = placed(folder, mode)
    assert distance_between(model, whole, first_frame(image_of(1))) <= ROUNDING
    model.close()


def test_every_speed_up_renders_the_same(folder: Path, whole: Ltx2Model, tmp_path: Path) -> None:
    fast = Ltx2Model.load(str(folder), "cpu", tmp_path, ignore)
    assert fast.optimizations
    assert distance_between(fast, whole, first_frame(image_of(1))) <= ROUNDING
    fast.close()


def test_a_task_of_quality_fast_is_rendered_in_two_stages(whole: Ltx2Model) -> None:
    clip = whole.render(small(height=128, upscale=2, quality="fast"), first_frame(None), ignore)
    assert clip.frames.shape == (9, 128, 128, 3)


@pytest.mark.parametrize(("mode", "stays"), [(OffloadMode.NONE, True), (OffloadMode.ALL_BUT_TRANSFORMER, False)])
def test_the_upsampler_sleeps_where_it_stays_on_the_gpu(folder: Path, mode: OffloadMode, stays: bool) -> None:
    model, profile = placed(folder, mode), read_profile(folder)
    bare = load_pipeline(folder, profile, "cpu", ALL)
    without = sum(each.nbytes for each in offload.resident_weights(bare, Placement(mode, 0, 0)))
    size = sum(weight.nbytes for weight in model._upsampler.state_dict().values())
    assert model.sleep_mode.size_bytes == without + (size if stays else 0)
    model.close()


def test_the_weights_are_counted_in_every_placement(folder: Path) -> None:
    plain, both = measure_sizes(folder, "float32"), measure_sizes(folder, "float32", folder / UPSAMPLER)
    loaded = LTX2LatentUpsamplerModel.from_pretrained(folder / UPSAMPLER)
    size = sum(weight.nbytes for weight in loaded.state_dict().values())
    assert both.weights[UPSAMPLER] == size
    for before, after in zip(gpu_placements(plain), gpu_placements(both), strict=True):
        streamed = UPSAMPLER in OFFLOADED_COMPONENTS[before.mode]
        assert after.gpu_bytes - before.gpu_bytes == (0 if streamed else size)
        assert UPSAMPLER in [row.component for row in after.rows]


def load(folder: Path, cache: Path, setting: str, kind: CheckpointType = CheckpointType.AUTO) -> Ltx2Model:
    options = LoadOptions(latent_upsampler=setting, checkpoint_type=kind)
    return Ltx2Model.load(str(folder), "cpu", cache, ignore, options)


@pytest.mark.parametrize(
    ("setting", "kind", "needed"),
    [(OFF, CheckpointType.AUTO, "generator.latent_upsampler"), (AUTO, CheckpointType.BASE, "generator.distilled_lora")],
)
def test_without_an_upsampler_or_the_distilled_lora_a_render_is_refused(
    folder: Path, tmp_path: Path, setting: str, kind: CheckpointType, needed: str
) -> None:
    model = load(folder, tmp_path, setting, kind)
    assert not model.profile.upsampler
    with pytest.raises(InvalidRequest, match=needed):
        model.render(small(upscale=2), first_frame(None), ignore)
    model.close()


def test_the_setting_names_a_folder_with_one_or_that_holds_one(copied: Path, tmp_path: Path) -> None:
    shutil.move(copied / UPSAMPLER, tmp_path / "elsewhere" / UPSAMPLER)
    for named in (tmp_path / "elsewhere", tmp_path / "elsewhere" / UPSAMPLER):
        model = load(copied, tmp_path, str(named))
        assert model.profile.upsampler is True
        model.close()


def break_file(upsampler: Path) -> None:
    file = upsampler / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def widen(upsampler: Path) -> None:
    LTX2LatentUpsamplerModel(in_channels=8, mid_channels=32, num_blocks_per_stage=1).save_pretrained(upsampler)


def double_frames(upsampler: Path) -> None:
    other = {"in_channels": 16, "mid_channels": 32, "num_blocks_per_stage": 1}
    LTX2LatentUpsamplerModel(**other, spatial_upsample=False, temporal_upsample=True).save_pretrained(upsampler)


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (break_file, ModelBroken, "its header states"),
        (widen, ModelUnavailable, "8 channels"),
        (double_frames, ModelUnavailable, "height and width"),
    ],
)
def test_an_upsampler_that_does_not_fit_is_said_at_load(
    copied: Path, tmp_path: Path, spoil: Callable[[Path], None], error: type[Exception], said: str
) -> None:
    spoil(copied / UPSAMPLER)
    with pytest.raises(error, match=said):
        load(copied, tmp_path, AUTO)


def test_a_setting_that_names_none_is_said_at_load(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"generator\.latent_upsampler"):
        load(folder, tmp_path, str(tmp_path))


def test_the_files_of_a_checkpoint_tell_as_much_as_they_can(copied: Path) -> None:
    profile = read_profile(copied)
    assert note_upsampler(profile, AUTO, copied).upsampler is True
    assert note_upsampler(profile, OFF, copied).upsampler is False
    shutil.rmtree(copied / UPSAMPLER)
    assert note_upsampler(profile, AUTO, copied).upsampler is None
    assert note_upsampler(profile, "owner/name", copied).upsampler is True


def test_without_a_lora_only_a_distilled_model_downloads_the_upsampler(hub: FakeHub, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "repository" / UPSAMPLER)
    add_upsampler(tmp_path / "repository")
    for kind, loaded in ((CheckpointType.BASE, False), (CheckpointType.DISTILLED, True)):
        options = LoadOptions(checkpoint_type=kind)
        model = Ltx2Model.load(REPOSITORY, "cpu", tmp_path / "cache", ignore, options)
        assert bool(model.profile.upsampler) is loaded
        assert any(name.startswith(UPSAMPLER) for name in hub.served) is loaded
        model.close()


def test_half_of_a_first_stage_s_tokens_are_enough_for_the_smallest_video(whole: Ltx2Model) -> None:
    latents = whole._render_latents(upscaled(whole, height=64, width=64), first_frame(None), ignore)
    assert latents.video.shape == (1, 16, 3, 2, 2)
    assert bool(torch.isfinite(latents.video).all())
