"""Tiny checkpoints of the families, loaded like the server with all fixes, and without them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.fixes import ALL, NONE
from models.ltx2.model import Ltx2Model
from tests.models.families import FAMILIES
from tests.models.reference import load

Loaded = Callable[..., Ltx2Model]


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a family by name, built once."""
    built: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in built:
            built[name] = FAMILIES[name].build(tmp_path_factory.mktemp("checkpoint"))
        return built[name]

    return find


@pytest.fixture(scope="session")
def loaded(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """The model of a family by name, loaded once with the fixes and once without."""
    models: dict[tuple[str, bool], Ltx2Model] = {}
    cache = tmp_path_factory.mktemp("cache")

    def find(name: str, *, fixed: bool = True) -> Ltx2Model:
        if (name, fixed) not in models:
            models[name, fixed] = load(FAMILIES[name], folder_of(name), cache, ALL if fixed else NONE)
        return models[name, fixed]

    yield find
    for model in models.values():
        model.close()
