import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers")


@pytest.mark.parametrize(
    "module",
    [
        "deployments.ingress.deployment",
        "deployments.dispatcher.deployment",
        "deployments.encoder.deployment",
        "deployments.generator",
        "deployments.app",
    ],
)
def test_only_a_generator_that_renders_imports_torch(module: str) -> None:
    program = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("module", ["storage.task_store", "storage.local", "models.request", "models.errors"])
def test_storage_and_models_know_neither_ray_nor_fastapi(module: str) -> None:
    program = f"import sys, {module}; print(*[name for name in ('ray', 'fastapi') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
