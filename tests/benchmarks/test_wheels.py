"""Promise: the GPU benchmark can be imported on a bare machine with only the packages of its list."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

WHEELS = Path(__file__).parents[2] / "benchmarks" / "gpu" / "wheels.txt"
BARE = ("torch", "transformers", "accelerate", "pillow", "pip", "setuptools")
"""The packages of such a machine. Their dependencies are there too."""
BLOCKING = """
import sys
from importlib.metadata import packages_distributions

allowed = set(sys.argv[1].split(","))
owners = packages_distributions()

for name, distributions in owners.items():
    names = {each.lower().replace("_", "-").replace(".", "-") for each in distributions}
    if not names & allowed and name not in ("benchmarks", "models"):
        sys.modules[name] = None
sys.modules |= dict.fromkeys(("deployments", "storage", "tests", "ltx2_client"))
import benchmarks.gpu.__main__
import models.quantization.nf4
models.quantization.nf4.import_bitsandbytes()
for name in ("av", "PIL"):
    __import__(name)
print("imported")
"""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(names: set[str]) -> set[str]:
    """These packages and all their dependencies, without extras."""
    found: set[str] = set()
    rest = [plain(name) for name in names]
    while rest:
        name = rest.pop()
        if name in found:
            continue
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue  # needed on another platform
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                rest.append(plain(requirement.name))
    return found


def carried() -> set[str]:
    lines = [line for line in WHEELS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {plain(Requirement(line).name) for line in lines}


def test_the_list_has_all_that_its_packages_need() -> None:
    assert needed(carried()) - needed(set(BARE)) <= carried()


def test_the_benchmark_imports_with_the_list_and_nothing_else() -> None:
    allowed = ",".join(needed(set(BARE)) | carried())
    code = [sys.executable, "-c", BLOCKING, allowed]
    ran = subprocess.run(code, cwd=WHEELS.parents[2], capture_output=True, text=True, check=False, timeout=200)
    assert ran.stdout.endswith("imported\n"), ran.stderr[-2000:]
