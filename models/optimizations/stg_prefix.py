"""The STG pass begins at its first perturbed block: up to there it is the conditional pass, row for row.

The pipeline calls the transformer with the rows (without prompt, with prompt), or with the prompt alone, and then once
more with the prompt and the STG blocks. Before the first of those blocks both calls compute the same from the same
latents, text and timestep. So the last row of the first call is kept there, and the second call begins with it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

Streams = tuple[Tensor, Tensor]
"""Hidden states of picture and sound, each (rows, tokens, width)."""


def install_prefix_reuse(transformer: Any, stg_blocks: Sequence[int]) -> bool:
    """Share the prefix of `transformer`. Returns whether there is one: not before block 0."""
    first = min(stg_blocks, default=0)
    if not 0 < first < len(transformer.transformer_blocks):
        return False
    shared = PrefixReuseBlocks(transformer.transformer_blocks, first)
    transformer.transformer_blocks = shared
    transformer.register_forward_pre_hook(shared.prepare, with_kwargs=True)
    return True


class PrefixReuseBlocks(nn.ModuleList):
    """The blocks of a transformer, which enumerates them in each call. `prepare` says what the next call is."""

    def __init__(self, blocks: nn.ModuleList, first: int) -> None:
        super().__init__(blocks)
        self._first = first
        self._kept: Streams | None = None
        self._resumes = False
        self._called = False

    def prepare(self, _transformer: Any, _args: Any, call: dict[str, Any]) -> None:
        """Look at a call of the transformer, before it runs."""
        self._called = True
        perturbed = call.get("spatio_temporal_guidance_blocks") or ()
        self._resumes = min(perturbed, default=None) == self._first and self._holds_row_of(call)
        if not self._resumes:
            self._kept = None

    def clear_cache(self) -> None:
        """Hold nothing any more: a task has ended."""
        self._kept = None

    def __iter__(self) -> Iterator[Any]:
        """The blocks as a call of the transformer wants them; to all others, simply the blocks."""
        blocks = list(super().__iter__())
        if not self._called:
            return iter(blocks)
        self._called = False
        before, first, after = blocks[: self._first], blocks[self._first], blocks[self._first + 1 :]
        if self._resumes:
            return iter([*(_pass_on for _ in before), self._resume(first), *after])
        return iter([*before, self._remember(first), *after])

    def _holds_row_of(self, call: dict[str, Any]) -> bool:
        """Whether what is kept is the row of this call: one row of as many tokens."""
        if self._kept is None:
            return False
        return all(
            kept.shape[:2] == call[name].shape[:2]
            for kept, name in zip(self._kept, ("hidden_states", "audio_hidden_states"), strict=True)
        )

    def _remember(self, block: Callable[..., Streams]) -> Callable[..., Streams]:
        def run(**inputs: Any) -> Streams:
            # Without cross-modal attention it is the modality pass, which no STG pass resembles.
            if inputs["use_a2v_cross_attention"] and inputs["perturbation_mask"] is None:
                self._kept = inputs["hidden_states"][-1:], inputs["audio_hidden_states"][-1:]
            return block(**inputs)

        return run

    def _resume(self, block: Callable[..., Streams]) -> Callable[..., Streams]:
        def run(**inputs: Any) -> Streams:
            assert self._kept is not None  # noqa: S101  # prepare saw to it
            (image, audio), self._kept = self._kept, None
            return block(**{**inputs, "hidden_states": image, "audio_hidden_states": audio})

        return run


def _pass_on(*, hidden_states: Tensor, audio_hidden_states: Tensor, **_inputs: Any) -> Streams:
    """Stands for a block whose result is known already."""
    return hidden_states, audio_hidden_states
