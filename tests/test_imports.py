import subprocess
import sys
from pathlib import Path

import pytest

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
from models.startup.warm_up import import_pipelines
import_pipelines("cpu")
from models.ltx2.model import Ltx2
from models.request.request import VideoRequest
model = Ltx2.load("tiny", "cpu", Path({str(tmp_path)!r}), lambda progress: None)
request = {{"prompt": "a cat", "height": 64, "width": 64, "num_frames": 9, "num_inference_steps": 2}}
model.render(VideoRequest.model_validate(request), None, lambda progress: None)
print(*[name for name in {UNUSED} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
