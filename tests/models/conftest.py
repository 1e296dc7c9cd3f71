import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from models.checkpoint.tiny import build_tiny
from models.ltx2.model import Ltx2Model
from models.progress import Progress
from models.request.request import VideoRequest
from tests.fake_hub import FakeHub, running
from tests.models.families import FAMILIES, FamilyCase


def ignore(_progress: Progress) -> None:
    """Ignore a progress report."""


def raise_it(error: Exception) -> None:
    """Fail with the error of a preview."""
    raise error


def small(**fields: object) -> VideoRequest:
    """The smallest request that contains motion."""
    defaults: dict[str, object] = {
        "prompt": "a cat",
        "height": 64,
        "width": 128,
        "num_frames": 9,
        "num_inference_steps": 2,
    }
    return VideoRequest.model_validate(defaults | fields)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread: the models are too small for two, and on a busy machine threads wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_folder(cache_dir: Path) -> Path:
    return build_tiny(cache_dir)


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    """The family of a module's tests: each in turn. A module or a folder may have others."""
    return str(request.param)


@pytest.fixture(scope="module")
def family(name: str) -> FamilyCase:
    return FAMILIES[name]


@pytest.fixture(scope="module")
def folder(family: FamilyCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the family."""
    return family.build(tmp_path_factory.mktemp("family"))


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that replaces the user's own hub cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "user-cache"))
    return tmp_path / "user-cache"


@pytest.fixture
def hub(tiny_folder: Path, user_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with the tiny model, and with files that rendering does not use."""
    repository = shutil.copytree(tiny_folder, tmp_path / "repository")
    (repository / "ltx-2-19b-dev.safetensors").write_bytes(b"the same weights once more, in one file")
    (repository / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (repository / "latent_upsampler").mkdir()
    (repository / "latent_upsampler" / "model.safetensors").write_bytes(b"another model")
    hub = FakeHub(repository)
    files = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    with running(hub):
        yield hub


@pytest.fixture(scope="session")
def model(cache_dir: Path, tiny_folder: Path) -> Iterator[Ltx2Model]:
    model = Ltx2Model.load("tiny", "cpu", cache_dir, ignore)
    yield model
    model.close()
