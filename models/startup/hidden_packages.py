"""Hides packages from diffusers and transformers. Both import optional packages if they are installed."""

import contextlib
import sys
from collections.abc import Iterator, Sequence

HIDDEN_PACKAGES = ("scipy", "bitsandbytes")
"""Packages that diffusers and transformers import if they are installed, and that no render uses: a third of all
imports. Do not list packages that another part of a Generator may import."""


@contextlib.contextmanager
def hide_modules(packages: Sequence[str]) -> Iterator[None]:
    """Hide packages that are not imported yet, so that code for which they are optional runs without them."""
    hidden = [name for name in packages if name not in sys.modules]
    # None is Python's own marker for a missing module
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
