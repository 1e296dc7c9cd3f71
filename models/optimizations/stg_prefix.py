"""Starts the STG pass at its first perturbed block: before that block, it equals the conditional pass, row for row.

The pipeline calls the transformer with two rows (negative prompt, prompt), or with the prompt alone. It then calls it
once more with the prompt and the STG blocks. Before the first of those blocks both calls compute the same from the same
latents, text and timestep. The last row of the first call is therefore kept there, and the second call starts with it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

Streams = tuple[Tensor, Tensor]
"""Hidden states of video and audio, each (rows, tokens, width)."""


def install_prefix_reuse(transformer: Any, stg_blocks: Sequence[int]) -> bool:
    """Reuse the prefix in `transformer`. Return whether there is one: block 0 has none before it."""
    first = min(stg_blocks, default=0)
    if not 0 < first < len(transformer.transformer_blocks):
        return False
    shared = PrefixReuseBlocks(transformer.transformer_blocks, first)
    transformer.transformer_blocks = shared
    transformer.register_forward_pre_hook(shared.prepare, with_kwargs=True)
    return True


class PrefixReuseBlocks(nn.ModuleList):
    """A transformer's blocks. The transformer iterates over them in each call; `prepare` is called before it."""

    def __init__(self, blocks: nn.ModuleList, first: int) -> None:
        super().__init__(blocks)
        self._first = first
        self._kept: Streams | None = None
        self._resumes = False
        self._called = False

    def prepare(self, _transformer: Any, _args: Any, call: dict[str, Any]) -> None:
        """Read a transformer call before it runs."""
        self._called = True
        perturbed = call.get("spatio_temporal_guidance_blocks") or ()
        self._resumes = min(perturbed, default=None) == self._first and self._holds_row_of(call)
        if not self._resumes:
            self._kept = None

    def clear_cache(self) -> None:
        """Drop the kept states at the end of a task."""
        self._kept = None

    def __iter__(self) -> Iterator[Any]:
        """The blocks for the current transformer call. Outside such a call, all blocks unchanged."""
        blocks = list(super().__iter__())
        if not self._called:
            return iter(blocks)
        self._called = False
        before, first, after = blocks[: self._first], blocks[self._first], blocks[self._first + 1 :]
        if self._resumes:
            return iter([*(_pass_on for _ in before), self._resume(first), *after])
        return iter([*before, self._remember(first), *after])

    def _holds_row_of(self, call: dict[str, Any]) -> bool:
        """Whether the kept states match this call: one row with the same number of tokens."""
        if self._kept is None:
            return False
        return all(
            kept.shape[:2] == call[name].shape[:2]
            for kept, name in zip(self._kept, ("hidden_states", "audio_hidden_states"), strict=True)
        )

    def _remember(self, block: Callable[..., Streams]) -> Callable[..., Streams]:
        def run(**inputs: Any) -> Streams:
            # Without cross-modal attention it is the modality pass, whose states differ from those of the STG pass.
            if inputs["use_a2v_cross_attention"] and inputs["perturbation_mask"] is None:
                self._kept = inputs["hidden_states"][-1:], inputs["audio_hidden_states"][-1:]
            return block(**inputs)

        return run

    def _resume(self, block: Callable[..., Streams]) -> Callable[..., Streams]:
        def run(**inputs: Any) -> Streams:
            assert self._kept is not None  # noqa: S101  # prepare has checked it
            (image, audio), self._kept = self._kept, None
            return block(**{**inputs, "hidden_states": image, "audio_hidden_states": audio})

        return run


def _pass_on(*, hidden_states: Tensor, audio_hidden_states: Tensor, **_inputs: Any) -> Streams:
    """Replaces a block whose result is not needed."""
    return hidden_states, audio_hidden_states
