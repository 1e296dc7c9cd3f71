"""Writes a folder that several processes may write at once: each its own draft, and the first to rename it wins."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`. Make a folder there; at the end of the context it becomes `target`.

    If another process was faster, its folder stays and this one is deleted. Raises OSError if it cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        draft = Path(temporary) / target.name
        yield draft
        with contextlib.suppress(OSError):
            draft.rename(target)
        if not target.exists():
            draft.rename(target)
