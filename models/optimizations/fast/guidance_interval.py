"""Guidance on a part of the steps: after it, one evaluation a step instead of four.

diffusers evaluates the transformer for the conditional prediction (in one call with the negative prompt's), for STG and
for modality isolation, and adds scaled differences to the conditional prediction. Where each of them answers with the
conditional prediction the differences are zero, and only that one has to be computed.

Early steps decide what is where, late ones what it looks like close by: so the first steps are guided. The share of
steps is the same interval of noise levels for each size, before the schedule is shifted for it.
(T. Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality", 2024)
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

ROWS = frozenset(
    {
        "hidden_states",
        "audio_hidden_states",
        "encoder_hidden_states",
        "audio_encoder_hidden_states",
        "encoder_attention_mask",
        "audio_encoder_attention_mask",
        "timestep",
        "audio_timestep",
        "sigma",
        "audio_sigma",
        "video_self_attention_mask",
        "video_keyframes_mask",
        "video_coords",
        "audio_coords",
    }
)
"""What has a row for each prompt in a call of the transformer: the negative one first, then the prompt."""


class GuidanceInterval:
    """Stands in the way of one transformer's calls. Without `only` they go through as they are."""

    def __init__(self, transformer: Any) -> None:
        self._guided_steps: int | None = None
        self._step = 0
        self._rows = 1
        self._prediction: tuple[Tensor, ...] = ()
        self._evaluate = transformer.forward
        transformer.forward = self._forward
        transformer.register_forward_pre_hook(self._cut, with_kwargs=True, prepend=True)

    @contextlib.contextmanager
    def only(self, guided_steps: int) -> Iterator[None]:
        """Guide the first steps of the one render in this context, and no others."""
        self._guided_steps, self._step = guided_steps, 0
        try:
            yield
        finally:
            self._guided_steps, self._prediction = None, ()

    def _cut(self, _transformer: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """Count the steps; of one that is not guided, leave the prompt's own row."""
        if self._guided_steps is None or _only_guides(call):
            return None
        self._step += 1
        if self._guides():
            return None
        self._rows = len(call["hidden_states"])
        return args, {name: _last_row(value) if name in ROWS else value for name, value in call.items()}

    def _forward(self, *args: Any, **call: Any) -> Any:
        if self._guides():
            return self._evaluate(*args, **call)
        if not _only_guides(call):
            self._prediction = self._evaluate(*args, **call)
            return tuple(torch.cat([each] * self._rows) for each in self._prediction)
        return self._prediction

    def _guides(self) -> bool:
        return self._guided_steps is None or self._step <= self._guided_steps


def _only_guides(call: dict[str, Any]) -> bool:
    """Whether a call is the STG or the modality pass, which follow the conditional one of their step."""
    return bool(call.get("spatio_temporal_guidance_blocks") or call.get("isolate_modalities"))


def _last_row(value: Tensor | None) -> Tensor | None:
    return None if value is None else value[-1:]
