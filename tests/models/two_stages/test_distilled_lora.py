"""The distilled LoRA of a base checkpoint is found, checked, counted and placed, and works under each placement."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from deployments.cli.download_model import prefetch_model
from models.checkpoint.locate import find_checkpoint
from models.checkpoint.profile import CheckpointType
from models.checkpoint.sizes import measure_sizes
from models.conditions import NO_CONDITIONS
from models.errors import InvalidRequest, LoraUnusable
from models.lora.distilled import AUTO, check_local_distilled_lora, fetch_distilled_lora, find_source
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory.offload_plan import OFFLOADED_COMPONENTS, UPSAMPLER, OffloadMode, gpu_placements, plan_cpu
from models.optimizations.selection import ALWAYS_FASTER, OFF
from tests.fake_hub import REPOSITORY, FakeHub
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES, add_upsampler
from tests.models.loras.conftest import LAYERS, by_lightricks, draw_pairs, save
from tests.models.two_stages.conftest import distance_between, placed

ROUNDING = 5e-5
FAMILY = FAMILIES["2.3"]
FILE = "ltx-2.3-22b-distilled-lora-384-1.1.safetensors"
OF_THE_TEXT = "text_embedding_projection.aggregate_embed.lora_A.weight"


def add_lora(folder: Path, transformer: Path, layers: Sequence[str] = LAYERS) -> Path:
    drawn = draw_pairs(LTX2VideoTransformer3DModel.from_pretrained(transformer), layers=layers)
    return save(by_lightricks(drawn) | {OF_THE_TEXT: torch.ones(2, 2)}, folder / FILE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = FAMILY.build(tmp_path_factory.mktemp("family"))
    add_upsampler(folder)
    add_lora(folder, folder / "transformer")
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    model = load(folder, tmp_path_factory.mktemp("cache"))
    yield model
    model.close()


def load(folder: Path, cache: Path, setting: str = AUTO, upsampler: str = AUTO) -> Ltx2Model:
    options = LoadOptions(distilled_lora=setting, latent_upsampler=upsampler, optimizations=OFF)
    return Ltx2Model.load(str(folder), "cpu", cache, ignore, options)


@pytest.mark.parametrize("mode", list(OFFLOADED_COMPONENTS))
def test_every_placement_renders_the_same(folder: Path, whole: Ltx2Model, mode: OffloadMode) -> None:
    model = placed(folder, mode, fetch_distilled_lora(AUTO, str(folder), folder, folder, ignore))
    assert distance_between(model, whole) <= ROUNDING
    model.close()


def test_every_speed_up_renders_the_same(folder: Path, whole: Ltx2Model, tmp_path: Path) -> None:
    fast = load(folder, tmp_path)
    fast.apply_optimizations(ALWAYS_FASTER)
    assert distance_between(fast, whole) <= ROUNDING
    fast.close()


def test_its_memory_is_in_every_placement(folder: Path) -> None:
    lora = fetch_distilled_lora(AUTO, str(folder), folder, folder, ignore).size_bytes("bfloat16")
    plain = measure_sizes(folder)
    both = replace(plain, distilled_lora=lora)
    assert lora > 0
    for before, after in zip(gpu_placements(plain), gpu_placements(both), strict=True):
        assert after.gpu_bytes - before.gpu_bytes == after.host_bytes - before.host_bytes == after.lora_bytes == lora
        assert [row.size_bytes for row in after.rows if row.component == "distilled LoRA"] == [lora]
    assert plan_cpu(2**62, both).host_bytes - plan_cpu(2**62, plain).host_bytes == 2 * lora


def test_layers_that_read_the_text_are_left_out(folder: Path) -> None:
    found = fetch_distilled_lora(AUTO, str(folder), folder, folder, ignore)
    assert found.file == folder / FILE
    assert found.shapes
    assert OF_THE_TEXT not in found.shapes


def test_without_an_upsampler_it_is_not_loaded_and_the_message_names_the_setting(folder: Path, tmp_path: Path) -> None:
    model = load(folder, tmp_path, upsampler="off")
    assert (model.profile.upsampler, model.profile.distilled_lora) == (False, True)
    assert model.placement.rows[-1].component != "distilled LoRA"
    with pytest.raises(InvalidRequest, match=r"generator\.latent_upsampler"):
        model.render(small(upscale=2), NO_CONDITIONS, ignore)
    model.close()


def test_a_distilled_model_does_not_load_it(folder: Path, tmp_path: Path) -> None:
    options = LoadOptions(distilled_lora=str(tmp_path / "none"), checkpoint_type=CheckpointType.DISTILLED)
    model = Ltx2Model.load(str(folder), "cpu", tmp_path, ignore, options)
    assert (model.profile.upsampler, model.profile.distilled_lora) == (True, None)
    model.close()


def test_one_of_another_model_stops_the_load(folder: Path, tmp_path: Path) -> None:
    wide = save({"diffusion_model.proj_out.lora_A.weight": torch.ones(2, 7)}, tmp_path / "wide.safetensors")
    with pytest.raises(LoraUnusable, match=r"LoRA generator\.distilled_lora"):
        load(folder, tmp_path, str(wide))


def test_one_that_is_missing_stops_the_load_and_the_start(tmp_path: Path) -> None:
    with pytest.raises(LoraUnusable, match=r"there is no file /nowhere/x\.safetensors"):
        check_local_distilled_lora("/nowhere/x.safetensors")
    (tmp_path / "model").mkdir()
    with pytest.raises(LoraUnusable, match="it has none"):
        fetch_distilled_lora(AUTO, str(tmp_path / "model"), tmp_path, tmp_path, ignore)


@pytest.mark.parametrize(
    ("setting", "repository", "file", "path"),
    [
        (AUTO, "Lightricks/LTX-2", None, None),
        ("owner/name@main", "owner/name@main", None, None),
        ("owner/name/loras/a.safetensors", "owner/name", "loras/a.safetensors", None),
        ("owner/name@main/a.safetensors", "owner/name@main", "a.safetensors", None),
        ("folder/a.safetensors", None, None, Path("folder/a.safetensors")),
        ("/folder/a.safetensors", None, None, Path("/folder/a.safetensors")),
        ("~/loras", None, None, Path("~/loras")),
    ],
)
def test_the_setting_names_a_file_a_folder_or_a_repository(
    setting: str, repository: str | None, file: str | None, path: Path | None
) -> None:
    found = find_source(setting, "Lightricks/LTX-2", Path("/snapshot"))
    assert (found.repository, found.file, found.path) == (repository, file, path)


def test_both_parts_are_downloaded_from_the_model_s_repository_if_the_setting_asks(
    hub: FakeHub, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "repository" / UPSAMPLER)
    add_upsampler(tmp_path / "repository")
    add_lora(tmp_path / "repository", tmp_path / "repository" / "transformer", ("proj_out",))
    said: list[str] = []
    prefetch_model(REPOSITORY, tmp_path / "cache", said.append, CheckpointType.BASE)
    assert FILE not in hub.served
    assert "no distilled LoRA: `upscale` is refused" in said
    prefetch_model(REPOSITORY, tmp_path / "cache", said.append, CheckpointType.BASE, distilled_lora=AUTO)
    assert FILE in hub.served
    assert any(line.startswith("distilled LoRA: ") for line in said)
    assert find_checkpoint(REPOSITORY, tmp_path / "cache") is not None
