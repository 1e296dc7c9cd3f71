"""The noise levels that a checkpoint was made for, whatever the scheduler's config that came with it says."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SHIFTED: Mapping[str, Any] = MappingProxyType({"use_dynamic_shifting": True, "shift_terminal": 0.1})
"""How the scheduler of a base model is set, by Lightricks' own conversions."""
UNSHIFTED: Mapping[str, Any] = MappingProxyType({"use_dynamic_shifting": False, "shift_terminal": None})
"""How that of a distilled one is."""
SHIFT = 2.05
"""Lightricks' shift at 4,096 tokens, which its pipelines use for every number of them."""
FIXED: Mapping[str, Any] = MappingProxyType(
    {**SHIFTED, "base_shift": SHIFT, "max_shift": SHIFT, "time_shift_type": "exponential"}
)
"""diffusers interpolates between the two shifts by the number of tokens: alike, they are the shift of any number."""


def set_shift(pipe: Any, *, distilled: bool, fixed: bool) -> None:
    """Have the scheduler take a distilled model's noise levels as they are given, and shift all others.

    The two may have come together otherwise: a conversion of a distilled model may keep the scheduler of its base, and
    the full transformer of LTX-2.5 comes with the scheduler of the distilled one. `fixed` shifts every size alike.
    """
    if distilled:
        changes = UNSHIFTED
    elif fixed:
        changes = FIXED
    elif not pipe.scheduler.config.get("use_dynamic_shifting"):
        changes = SHIFTED
    else:
        return
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **changes)
