"""Caches the text's keys and values between steps: LTX-2 (19B) computes the same ones at every step.

Later models modulate the text by the timestep before the projection, so their keys and values change at each step.
"""

from typing import Any

from torch import Tensor, nn

PLACES = ("attn2", "audio_attn2")
PROJECTIONS = ("to_k", "to_v")


def install_text_kv_cache(transformer: Any) -> bool:
    """Cache the text's keys and values in `transformer`. Return False if the timestep modulates its text."""
    if any(block.cross_attn_adaln for block in transformer.transformer_blocks):
        return False
    text = _TextState()
    for block in transformer.transformer_blocks:
        for place in PLACES:
            attention = getattr(block, place)
            for projection in PROJECTIONS:
                setattr(attention, projection, CachedLinear(getattr(attention, projection), text))
    transformer.register_forward_pre_hook(text.prepare, with_kwargs=True)
    return True


class _TextState:
    """The text of the current calls. A later call may use only some rows of the first call's text."""

    def __init__(self) -> None:
        self._source: Tensor | None = None
        self.generation = 0
        """Increases with each new text. Values cached for another generation are stale."""
        self.rows = slice(0, 0)
        """The rows of the text that the current call uses."""

    def prepare(self, _transformer: Any, _args: Any, call: dict[str, Any]) -> None:
        """Read a transformer call before it runs."""
        text = call["encoder_hidden_states"]
        if (rows := self._find(text)) is not None:
            self.rows = rows
            return
        self._source = text
        self.generation += 1
        self.rows = slice(0, len(text))

    def clear_cache(self) -> None:
        """Forget the text."""
        self._source = None
        self.generation += 1

    def _find(self, text: Tensor) -> slice | None:
        """The rows of `text` within the known text; None if it is another text.

        The pipeline slices the prompt's rows out of both texts, without a copy. This object keeps the known text alive,
        so no other tensor can have its memory.
        """
        known = self._source
        if known is None or text.shape[1:] != known.shape[1:] or text.stride() != known.stride():
            return None
        if text.untyped_storage().data_ptr() != known.untyped_storage().data_ptr():
            return None
        start = (text.storage_offset() - known.storage_offset()) // known.stride(0)
        return slice(start, start + len(text)) if 0 <= start <= len(known) - len(text) else None


class CachedLinear(nn.Module):
    """A linear layer that returns its cached result while the text stays the same."""

    def __init__(self, linear: nn.Module, text: _TextState) -> None:
        super().__init__()
        self.linear = linear
        self._text = text
        self._kept: Tensor | None = None
        self._generation = 0

    def forward(self, states: Tensor) -> Tensor:
        """Project `states` (rows, tokens, width), the text of this call."""
        if self._kept is None or self._generation != self._text.generation:
            self._kept = None
            self._kept, self._generation = self.linear(states), self._text.generation
        return self._kept[self._text.rows]

    def clear_cache(self) -> None:
        """Drop the cached result at the end of a task."""
        self._kept = None
        self._text.clear_cache()
