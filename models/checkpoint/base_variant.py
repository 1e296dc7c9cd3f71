"""The second transformer of a checkpoint, for an operator who says that its base is to be run.

LTX-2.5 comes with two in one repository: the distilled one, which its index names, and the full one beside it, which
wants steps and guidance. A checkpoint is then seen through a folder of links in which the full one has the other's
place, so that whoever reads a checkpoint reads this one alike. Knows no torch.
"""

import contextlib
import hashlib
import tempfile
from pathlib import Path

TRANSFORMER = "transformer"
BASE_VARIANT = "transformer_full"
BASE_VARIANT_CONFIG = f"{BASE_VARIANT}/config.json"


def has_base_variant(folder: Path) -> bool:
    """Whether a checkpoint comes with a full transformer beside the one that its index names."""
    return (folder / BASE_VARIANT_CONFIG).is_file()


def view_path(folder: Path, cache_dir: Path) -> Path:
    """Where in `cache_dir` the links stand for the checkpoint in `folder`, once they are made."""
    return cache_dir / f"full-{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]}"


def materialize(folder: Path, cache_dir: Path) -> Path:
    """The checkpoint in `folder` with its full transformer in the place of the other. Raises OSError.

    Two processes may do this at once: each makes links of its own, and the first to finish names them.
    """
    target = view_path(folder, cache_dir)
    if target.exists():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=f".{target.name}-") as temporary:
        draft = Path(temporary) / target.name
        draft.mkdir()
        for entry in folder.absolute().iterdir():
            if entry.name not in (TRANSFORMER, BASE_VARIANT):
                (draft / entry.name).symlink_to(entry)
        (draft / TRANSFORMER).symlink_to(folder.absolute() / BASE_VARIANT)
        with contextlib.suppress(OSError):
            draft.rename(target)
        if not target.exists():
            draft.rename(target)
    return target
