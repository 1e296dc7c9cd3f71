"""A text mask that masks nothing is left out, so that attention kernels without masks can be used.

The connectors put learned registers where the padding was, so that every token of the text counts and their mask is
ones. A mask with a zero in it is passed on as it is.
"""

import weakref
from typing import Any

from torch import Tensor

MASKS = ("encoder_attention_mask", "audio_encoder_attention_mask")


def install_mask_drop(transformer: Any) -> bool:
    """Leave out masks of ones in all calls of `transformer`."""
    seen = _MaskCache()

    def leave_out(_transformer: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        kept = {name: None if name in MASKS and seen.is_noop(value) else value for name, value in call.items()}
        return args, kept

    transformer.register_forward_pre_hook(leave_out, with_kwargs=True)
    return True


class _MaskCache:
    """Looks into each mask once, as a look waits for the GPU: a task passes the same two tensors at every step."""

    def __init__(self) -> None:
        self._answers: dict[int, tuple[weakref.ref[Tensor], bool]] = {}

    def is_noop(self, mask: Tensor | None) -> bool:
        if mask is None or mask.ndim != 2:  # noqa: PLR2004  # of three dimensions, it is added and zero means "counts"
            return False
        known = self._answers.get(id(mask))
        if known is not None and known[0]() is mask:
            return known[1]
        self._answers = {key: answer for key, answer in self._answers.items() if answer[0]() is not None}
        answer = bool((mask == 1).all())
        self._answers[id(mask)] = (weakref.ref(mask), answer)
        return answer
