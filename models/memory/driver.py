"""Checks that the host's NVIDIA driver is new enough for the installed torch."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

DRIVER = Path("/proc/driver/nvidia/version")
"""The kernel module's version file; in a container it is the host's."""
FLOORS: Mapping[int, int] = MappingProxyType({11: 450, 12: 525, 13: 580})
"""The oldest driver for each major version of CUDA, from NVIDIA's table of minor version compatibility."""


def find_old_driver() -> str | None:
    """One sentence if the driver is older than torch's CUDA requires, otherwise None. Does not import torch."""
    cuda, version = _read_cuda(_find_torch_version()), _read_driver(DRIVER)
    if cuda is None or version is None:
        return None
    floor = FLOORS.get(int(cuda.partition(".")[0]))
    if floor is None or int(version.partition(".")[0]) >= floor:
        return None
    return (
        f"the NVIDIA driver is {version}, and torch's CUDA {cuda} requires {floor} or newer: update the driver, or "
        "install torch for an older CUDA (TORCH_INDEX in the Dockerfile)"
    )


def _find_torch_version() -> Path | None:
    spec = importlib.util.find_spec("torch")
    return None if spec is None or spec.origin is None else Path(spec.origin).with_name("version.py")


def _read_cuda(file: Path | None) -> str | None:
    """The CUDA version that torch was built with; None for a build without CUDA."""
    return _search(file, r"^cuda\b.*?=\s*['\"]([\d.]+)")


def _read_driver(file: Path) -> str | None:
    """The driver's version; None if there is no driver."""
    return _search(file, r"Kernel Module\b.*?\s(\d+(?:\.\d+)+)\s")


def _search(file: Path | None, pattern: str) -> str | None:
    try:
        found = re.search(pattern, file.read_text(), re.MULTILINE) if file is not None else None
    except OSError:
        return None
    return found[1] if found else None
