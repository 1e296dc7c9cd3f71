import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.product import PACKAGES, ROOT, modules, nodes

HEAVY = ("torch", "diffusers", "transformers")


@pytest.mark.parametrize(
    "module",
    [
        "deployments.ingress.deployment",
        "deployments.dispatcher.deployment",
        "deployments.encoder.deployment",
        "deployments.generator.deployment",
        "deployments.app",
    ],
)
def test_only_a_generator_that_renders_imports_torch(module: str) -> None:
    program = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


@pytest.mark.parametrize(
    "module", ["storage.task_store", "storage.outputs.local", "models.request.request", "models.errors"]
)
def test_storage_and_models_know_neither_ray_nor_fastapi(module: str) -> None:
    program = f"import sys, {module}; print(*[name for name in ('ray', 'fastapi') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


UNUSED = ("scipy", "skimage", "torchvision", "torchaudio", "peft", "bitsandbytes", "gradio", "datasets", "IPython")
"""Packages that diffusers, transformers, or this project's tests and tools may import, and that no render needs."""


def test_a_generator_that_loads_and_renders_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from models.conditions import NO_CONDITIONS
from models.startup.warm_up import import_pipelines
import_pipelines("cpu")
from models.ltx2.model import Ltx2Model
from models.request.request import VideoRequest
model = Ltx2Model.load("tiny", "cpu", Path({str(tmp_path)!r}), lambda progress: None)
request = {{"prompt": "a cat", "height": 64, "width": 64, "num_frames": 9, "num_inference_steps": 2}}
model.render(VideoRequest.model_validate(request), NO_CONDITIONS, lambda progress: None)
print(*[name for name in {UNUSED} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_every_package_that_the_code_imports_is_declared() -> None:
    """Not only installed because another package needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][name] for name in ("server", "nf4"))]
    declared = {canonicalize_name(Requirement(line).name) for group in groups for line in group}
    distributions = packages_distributions()
    missing = {
        f"{module} ({name})"
        for name, module in imported_modules()
        if name not in sys.stdlib_module_names and name not in PACKAGES
        if not declared & {canonicalize_name(each) for each in distributions.get(name, [name])}
    }
    assert missing == set()


def imported_modules() -> Iterator[tuple[str, str]]:
    """Each top-level package that a product module imports, with the module."""
    for path in modules():
        for node in nodes(path):
            if isinstance(node, ast.Import):
                yield from ((each.name.split(".")[0], path.name) for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0], path.name
