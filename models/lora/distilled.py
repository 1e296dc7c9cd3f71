"""Finds the distilled LoRA: with it, a base checkpoint runs the second of two stages as a distilled one does.

Lightricks publishes one for each generation: the difference between its distilled and its full transformer. Some also
change layers that read the text. Lightricks' own pipeline reads the text once, without the LoRA: they are left out.
"""

import re
from dataclasses import replace
from pathlib import Path

from models.checkpoint.files import SUFFIX
from models.checkpoint.locate import is_repository
from models.lora.files import LoraFile, check_local_loras, fetch_loras
from models.lora.layout import reads_text
from models.lora.source import LoraSource
from models.names import BUILT_IN
from models.progress import ReportProgress

SETTING = "generator.distilled_lora"
"""The name of this LoRA in messages."""
OFF = "off"
AUTO = "auto"
"""The one in the checkpoint's own folder or repository."""
PATTERN = "**/*distilled-lora*.safetensors"
"""How Lightricks names it, in the repository or in a folder of it."""
FILE_IN_REPOSITORY = re.compile(r"([^/]+/[^/]+)/(.+\.safetensors)")
"""A file in a repository: owner/name/file, or owner/name@revision/file."""
DEFAULT_SCALE = 1.0
"""Source: DEFAULT_LORA_STRENGTH of Lightricks' pipelines, and the example of two stages in diffusers' documentation."""


def find_source(setting: str, model: str, folder: Path) -> LoraSource:
    """Where the LoRA of `model` comes from, whose checkpoint is in `folder`. `setting` is not "off"."""
    place = setting if setting != AUTO else str(folder) if model in BUILT_IN else model
    if not Path(place).expanduser().exists() and not place.startswith(("/", ".", "~")):
        if found := FILE_IN_REPOSITORY.fullmatch(place):
            return LoraSource(SETTING, repository=found[1], file=found[2])
        if is_repository(place) and not place.endswith(SUFFIX):
            return LoraSource(SETTING, repository=place, pattern=PATTERN)
    return LoraSource(SETTING, path=Path(place), pattern=PATTERN)


def fetch_distilled_lora(setting: str, model: str, folder: Path, cache_dir: Path, report: ReportProgress) -> LoraFile:
    """Find or download the distilled LoRA of `model`, without its layers that read the text.

    Raises ModelUnavailable if it is missing or cannot be read, and passes on what `report` raises.
    """
    (found,) = fetch_loras([find_source(setting, model, folder)], cache_dir, report)
    return replace(found, shapes={name: shape for name, shape in found.shapes.items() if not reads_text(name)})


def check_local_distilled_lora(setting: str) -> None:
    """Check before a start that a file or a folder that the setting names can be read. Raises LoraUnusable."""
    if setting not in (AUTO, OFF):
        check_local_loras([find_source(setting, "", Path())])
