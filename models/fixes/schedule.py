"""Sets the noise levels that a checkpoint was trained for, whatever its scheduler's config contains."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SHIFTED: Mapping[str, Any] = MappingProxyType({"use_dynamic_shifting": True, "shift_terminal": 0.1})
"""The scheduler's config of a base model in Lightricks' own conversions."""
UNSHIFTED: Mapping[str, Any] = MappingProxyType({"use_dynamic_shifting": False, "shift_terminal": None})
"""The scheduler's config of a distilled model in them."""
SHIFT = 2.05
"""Lightricks' shift at 4,096 tokens. Its pipelines use this shift for every number of tokens."""
FIXED: Mapping[str, Any] = MappingProxyType(
    {**SHIFTED, "base_shift": SHIFT, "max_shift": SHIFT, "time_shift_type": "exponential"}
)
"""diffusers interpolates between the two shifts by the number of tokens. Equal shifts give the same shift for any
number."""


def set_shift(pipe: Any, *, distilled: bool, fixed: bool) -> None:
    """Make the scheduler use a distilled model's noise levels unchanged, and shift those of a base model.

    A checkpoint's scheduler config may not match the model: a conversion of a distilled model may keep the scheduler of
    its base, and the full transformer of LTX-2.5 comes with the scheduler of the distilled one. With `fixed`, every
    video size gets the same shift.
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
