"""Drops a text mask that masks nothing, so that attention kernels without mask support can run.

The connectors replace padding with learned registers, so that every text token counts and the mask is all ones. A mask
that contains a zero is kept.
"""

import weakref
from typing import Any

from torch import Tensor

MASKS = ("encoder_attention_mask", "audio_encoder_attention_mask")


def install_mask_drop(transformer: Any) -> bool:
    """Drop masks of ones in all calls of `transformer`."""
    seen = _MaskCache()

    def leave_out(_transformer: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        kept = {name: None if name in MASKS and seen.is_noop(value) else value for name, value in call.items()}
        return args, kept

    transformer.register_forward_pre_hook(leave_out, with_kwargs=True)
    return True


class _MaskCache:
    """Checks each mask once, because a check waits for the GPU. A task passes the same two tensors at every step."""

    def __init__(self) -> None:
        self._answers: dict[int, tuple[weakref.ref[Tensor], bool]] = {}

    def is_noop(self, mask: Tensor | None) -> bool:
        if mask is None or mask.ndim != 2:  # noqa: PLR2004  # a 3D mask is added to the scores: zero means "counts"
            return False
        known = self._answers.get(id(mask))
        if known is not None and known[0]() is mask:
            return known[1]
        self._answers = {key: answer for key, answer in self._answers.items() if answer[0]() is not None}
        answer = bool((mask == 1).all())
        self._answers[id(mask)] = (weakref.ref(mask), answer)
        return answer
