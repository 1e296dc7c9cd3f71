"""Finds or downloads the files of LoRAs, and reads their headers. Does not import torch.

Only safetensors are read: other formats can run code when they are read.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from models.checkpoint.files import SUFFIX
from models.checkpoint.sizes import NUMBER_BYTES
from models.errors import LoraUnusable
from models.hub.download import download_files
from models.hub.files import FileSelection, RepoRef
from models.lora.source import LoraSource
from models.progress import ReportProgress
from models.request.loose_values import parse_number

ADAPTER = "lora_adapter_metadata"
"""Where diffusers writes the configuration of a LoRA, as JSON."""
SPATIAL_FACTOR, TEMPORAL_FACTOR = "reference_downscale_factor", "reference_temporal_scale_factor"
"""Where Lightricks' trainer writes how much smaller, and how much slower, the control videos of an IC-LoRA are."""


@dataclass(frozen=True)
class LoraFile:
    """The file of a LoRA: the shape of each tensor by name, and diffusers' configuration of the LoRA, if it has one.

    `factors` are what an IC-LoRA says of its control video, as text.
    """

    name: str
    file: Path
    shapes: Mapping[str, tuple[int, ...]]
    config: Mapping[str, object]
    factors: Mapping[str, str] = field(default_factory=dict)

    def size_bytes(self, dtype: str) -> int:
        """Size of the tensors when loaded as `dtype`."""
        return sum(math.prod(shape) for shape in self.shapes.values()) * NUMBER_BYTES[dtype]


def fetch_loras(sources: Sequence[LoraSource], cache_dir: Path, report: ReportProgress) -> tuple[LoraFile, ...]:
    """Find or download the files of all LoRAs. Raises ModelUnavailable, and passes on what `report` raises."""
    return tuple(_read(each, locate(each, cache_dir, report)) for each in sources)


def locate(source: LoraSource, cache_dir: Path, report: ReportProgress) -> Path:
    """The local file of a LoRA, downloaded into `cache_dir` if it is on the hub. Raises ModelUnavailable."""
    if source.path is not None:
        return find_local(source)
    repository = RepoRef.parse(source.repository or "")
    wanted = source.file or source.pattern.removeprefix("**/")  # the hub's patterns match in each folder
    folder = download_files(FileSelection(repository, (wanted,)), cache_dir, report)
    return _only_file(source, folder, str(repository))


def check_local_loras(sources: Sequence[LoraSource]) -> None:
    """Check before a start that the LoRAs on this machine are there and can be read. Raises LoraUnusable."""
    for each in sources:
        if each.path is not None:
            _read(each, find_local(each))


def find_local(source: LoraSource) -> Path:
    """The file of a LoRA with a `path`. Raises LoraUnusable."""
    path = (source.path or Path()).expanduser()
    if path.is_dir():
        return _only_file(source, path, str(path))
    if not path.is_file():
        raise LoraUnusable(f"LoRA {source.name}: there is no file {path}")
    if path.suffix != SUFFIX:
        raise LoraUnusable(f"LoRA {source.name}: {path} must be a {SUFFIX} file; other formats can run code")
    return path


def _only_file(source: LoraSource, folder: Path, place: str) -> Path:
    if source.file is not None:
        if not (folder / source.file).is_file() or not source.file.endswith(SUFFIX):
            raise LoraUnusable(f"LoRA {source.name}: {place} has no {SUFFIX} file {source.file}")
        return folder / source.file
    found = sorted(folder.glob(source.pattern))
    if len(found) != 1:
        names = ", ".join(each.name for each in found) or "none"
        raise LoraUnusable(
            f"LoRA {source.name}: {place} must have one file {source.pattern}, or the setting must name it; it has "
            f"{names}"
        )
    return found[0]


def read_header(name: str, file: Path) -> LoraFile:
    """Read the header of a LoRA's file. Raises LoraUnusable if it is not a safetensors file."""
    try:
        with safe_open(file, framework="np") as tensors:
            shapes = {each: tuple(tensors.get_slice(each).get_shape()) for each in tensors.keys()}  # noqa: SIM118
            metadata = tensors.metadata() or {}
    except (SafetensorError, OSError) as exc:
        raise LoraUnusable(f"LoRA {name}: {file} cannot be read as safetensors: {exc}") from exc
    factors = {each: metadata[each] for each in (SPATIAL_FACTOR, TEMPORAL_FACTOR) if each in metadata}
    return LoraFile(name, file, shapes, _adapter_config(metadata), factors)


def _read(source: LoraSource, file: Path) -> LoraFile:
    """The header of a source's file. Raises LoraUnusable, also for an IC-LoRA that the settings describe otherwise."""
    found = read_header(source.name, file)
    if source.reference_downscale_factor is not None:
        for name, used in ((SPATIAL_FACTOR, source.reference_downscale_factor), (TEMPORAL_FACTOR, 1)):
            said = found.factors.get(name, str(used))
            if parse_number(said) != used:
                raise LoraUnusable(f"LoRA {source.name}: {name} is {used} here, and its file says {said[:64]}")
    return found


def _adapter_config(metadata: Mapping[str, str]) -> Mapping[str, object]:
    try:
        config = json.loads(metadata.get(ADAPTER, "{}"))
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}
