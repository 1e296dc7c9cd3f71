"""Guides only some of the steps. Each other step needs one transformer call instead of four.

diffusers calls the transformer for the conditional prediction (in one call with the negative prompt's), for STG and for
modality isolation. It adds scaled differences to the conditional prediction. If the other calls return the conditional
prediction, the differences are zero, and only that one has to be computed.

Early steps decide the composition, late ones the details: so the first steps are guided. The fraction of steps is the
same interval of noise levels for each size, before the schedule's shift. (T. Kynkäänniemi et al., "Applying Guidance in
a Limited Interval Improves Sample and Distribution Quality", 2024)
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from models.memory.replaced_forward import ReplacedForward

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
        "perturbation_mask",
        "video_coords",
        "audio_coords",
    }
)
"""The transformer's arguments with one row per prompt: the negative prompt first, then the prompt."""


class GuidanceInterval:
    """Wraps the `forward` of one transformer. Outside `only`, calls pass unchanged."""

    def __init__(self, transformer: Any) -> None:
        self._guided_steps: int | None = None
        self._step = 0
        self._rows = 1
        self._prediction: tuple[Tensor, ...] = ()
        self._evaluate = ReplacedForward(transformer, self._forward)
        transformer.register_forward_pre_hook(self._cut, with_kwargs=True, prepend=True)

    @contextlib.contextmanager
    def only(self, guided_steps: int) -> Iterator[None]:
        """Guide only the first `guided_steps` steps of the one render in this context."""
        self._guided_steps, self._step = guided_steps, 0
        try:
            yield
        finally:
            self._guided_steps, self._prediction = None, ()

    def _cut(self, _transformer: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """Count the steps. In a step without guidance, keep only the prompt's row."""
        if self._guided_steps is None or only_guides(call):
            return None
        self._step += 1
        if self._guides():
            return None
        self._rows = len(call["hidden_states"])
        return args, {name: _last_row(value) if name in ROWS else value for name, value in call.items()}

    def _forward(self, *args: Any, **call: Any) -> Any:
        if self._guides():
            return self._evaluate(*args, **call)
        if not only_guides(call):
            self._prediction = self._evaluate(*args, **call)
            return tuple(torch.cat([each] * self._rows) for each in self._prediction)
        return self._prediction

    def _guides(self) -> bool:
        return self._guided_steps is None or self._step <= self._guided_steps


def only_guides(call: dict[str, Any]) -> bool:
    """Whether a call is the STG or the modality pass. Both follow the conditional pass of their step."""
    return bool(call.get("spatio_temporal_guidance_blocks") or call.get("isolate_modalities"))


def _last_row(value: Tensor | None) -> Tensor | None:
    return None if value is None else value[-1:]
