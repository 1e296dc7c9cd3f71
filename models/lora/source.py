"""Where a LoRA comes from. Does not import torch."""

from dataclasses import dataclass
from pathlib import Path

from models.checkpoint.files import WEIGHTS


@dataclass(frozen=True)
class LoraSource:
    """A LoRA of the operator: a safetensors file at `path`, or in a hub `repository`.

    `path` may be a folder. A repository is owner/name, or owner/name@revision. `file` names the file where a folder or
    a repository has several; otherwise it is the only one that matches `pattern`. An IC-LoRA has a
    `reference_downscale_factor`: how many times smaller its control video is than the result, on each side.
    """

    name: str
    path: Path | None = None
    repository: str | None = None
    file: str | None = None
    pattern: str = WEIGHTS
    reference_downscale_factor: int | None = None
