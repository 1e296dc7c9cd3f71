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
FULL = "transformer_full"
FULL_CONFIG = f"{FULL}/config.json"


def has_full(folder: Path) -> bool:
    """Whether a checkpoint comes with a full transformer beside the one that its index names."""
    return (folder / FULL_CONFIG).is_file()


def full_view(folder: Path, cache_dir: Path) -> Path:
    """Where in `cache_dir` the links stand for the checkpoint in `folder`, once they are made."""
    return cache_dir / f"full-{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]}"


def with_full(folder: Path, cache_dir: Path) -> Path:
    """The checkpoint in `folder` with its full transformer in the place of the other. Raises OSError.

    Two processes may do this at once: each makes links of its own, and the first to finish names them.
    """
    target = full_view(folder, cache_dir)
    if target.exists():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=f".{target.name}-") as temporary:
        draft = Path(temporary) / target.name
        draft.mkdir()
        for entry in folder.absolute().iterdir():
            if entry.name not in (TRANSFORMER, FULL):
                (draft / entry.name).symlink_to(entry)
        (draft / TRANSFORMER).symlink_to(folder.absolute() / FULL)
        with contextlib.suppress(OSError):
            draft.rename(target)
        if not target.exists():
            draft.rename(target)
    return target
