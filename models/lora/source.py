"""Where a LoRA comes from. Does not import torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LoraSource:
    """A LoRA of the operator: a safetensors file at `path`, or in a hub `repository`.

    `path` may be a folder. A repository is owner/name, or owner/name@revision. `file` names the file where a folder or
    a repository has several. An IC-LoRA has a `reference_downscale_factor`: how many times smaller its control video is
    than the result, on each side.
    """

    name: str
    path: Path | None = None
    repository: str | None = None
    file: str | None = None
    reference_downscale_factor: int | None = None
