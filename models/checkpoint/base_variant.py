"""Selects the full (base) transformer of a checkpoint that contains two transformers. Does not import torch.

The LTX-2.5 repository contains two: the distilled one, which its index names, and the full one in `transformer_full`.
The full one needs more steps and guidance. The operator selects it with `generator.checkpoint_type: base`. The
checkpoint is then read through a folder of symlinks, where `transformer` points to `transformer_full`. All code that
reads a checkpoint therefore works without a special case.
"""

import hashlib
from pathlib import Path

from models.checkpoint.new_folder import new_folder

TRANSFORMER = "transformer"
BASE_VARIANT = "transformer_full"
BASE_VARIANT_CONFIG = f"{BASE_VARIANT}/config.json"


def has_base_variant(folder: Path) -> bool:
    """Whether the checkpoint has a full transformer beside the one that its index names."""
    return (folder / BASE_VARIANT_CONFIG).is_file()


def view_path(folder: Path, cache_dir: Path) -> Path:
    """The folder in `cache_dir` for the symlinks to the checkpoint in `folder`. It may not exist yet."""
    return cache_dir / f"full-{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]}"


def materialize(folder: Path, cache_dir: Path) -> Path:
    """Create the symlinks that make the full transformer the checkpoint's `transformer`. Return their folder.

    Two processes may call this at once: each creates its own folder, and the first to rename it wins. Raises OSError.
    """
    target = view_path(folder, cache_dir)
    if target.exists():
        return target
    with new_folder(target) as draft:
        draft.mkdir()
        for entry in folder.absolute().iterdir():
            if entry.name not in (TRANSFORMER, BASE_VARIANT):
                (draft / entry.name).symlink_to(entry)
        (draft / TRANSFORMER).symlink_to(folder.absolute() / BASE_VARIANT)
    return target
