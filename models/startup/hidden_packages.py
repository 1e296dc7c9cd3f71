"""Hides packages from diffusers and transformers, which import what is installed and can do without."""

import contextlib
import sys
from collections.abc import Iterator, Sequence

HIDDEN_PACKAGES = ("scipy", "bitsandbytes")
"""Packages that diffusers and transformers import where they are installed, and that no render uses: a third of all
imports. Packages that another part of a Generator may import must not stand here."""


@contextlib.contextmanager
def hide_modules(packages: Sequence[str]) -> Iterator[None]:
    """Hide packages that are not imported yet, so that code which can do without them does."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: Python's own mark for "not there"
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
