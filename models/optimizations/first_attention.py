"""Computes the video's self-attention of block 0 once per step: all guidance passes give it the same input.

Text and audio act on the video's states after the first self-attention. The rows for the negative prompt and the prompt
are therefore equal there, and so is the modality pass that follows. What decides the input is compared in each call.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.memory.replaced_forward import ReplacedForward

INPUTS = ("hidden_states", "timestep", "video_coords")
"""What a transformer call passes, row by row, that acts on the first self-attention."""


def install_first_attention_reuse(transformer: Any) -> bool:
    """Reuse the first self-attention in `transformer`. Return True: every transformer has one."""
    attention = transformer.transformer_blocks[0].attn1
    attention.reuse = FirstAttention(attention)
    transformer.register_forward_pre_hook(attention.reuse.prepare, with_kwargs=True)
    return True


class FirstAttention(nn.Module):
    """The first self-attention's result for one row, and the inputs of the transformer that it is for."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self._original = ReplacedForward(attention, self._attend)
        self._inputs: list[Tensor] = []
        self._rows_are_equal = False
        self._result: Tensor | None = None

    def prepare(self, _transformer: Any, _args: Any, call: dict[str, Any]) -> None:
        """Read a transformer call before it runs."""
        inputs = [call[name] for name in INPUTS if call.get(name) is not None]
        self._rows_are_equal = all(torch.equal(value, value[:1].expand_as(value)) for value in inputs)
        first = [value[:1] for value in inputs]
        if len(first) != len(self._inputs) or not all(map(torch.equal, first, self._inputs)):
            self._inputs, self._result = [row.clone() for row in first], None

    def clear_cache(self) -> None:
        """Drop the kept tensors at the end of a task."""
        self._inputs, self._result = [], None

    def _attend(self, hidden_states: Tensor, *, query_rotary_emb: tuple[Tensor, Tensor], **options: Any) -> Tensor:
        """Attend within `hidden_states` (rows, tokens, width)."""
        plain = all(value is None or value is False for value in options.values())  # neither masked nor perturbed
        if not (plain and self._rows_are_equal):
            every_row: Tensor = self._original(hidden_states, query_rotary_emb=query_rotary_emb, **options)
            return every_row
        if self._result is None:
            cos, sin = query_rotary_emb
            self._result = self._original(hidden_states[:1], query_rotary_emb=(cos[:1], sin[:1]), **options)
        return self._result.expand(len(hidden_states), -1, -1)
