from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.ltx2 import Ltx2
from models.progress import Progress
from models.request import VideoRequest
from models.tiny import build_tiny


def ignore(_progress: Progress) -> None:
    """A report that nobody reads."""


def small(**fields: object) -> VideoRequest:
    """The smallest request that has motion in it."""
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
    """Nothing here is large enough for two, and on a busy machine they wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_folder(cache_dir: Path) -> Path:
    return build_tiny(cache_dir)


@pytest.fixture(scope="session")
def model(cache_dir: Path, tiny_folder: Path) -> Iterator[Ltx2]:
    model = Ltx2.load("tiny", "cpu", cache_dir, ignore)
    yield model
    model.close()
