"""Puts speed-ups on a loaded transformer."""

from collections.abc import Callable, Sequence
from typing import Any

from models.speedup_choice import Speedup
from models.speedups import compiled, kernels, mask, prefix, text_keys, timesteps
from models.speedups.prefix import SharedBlocks
from models.speedups.text_keys import KeptLinear
from models.speedups.timesteps import DistinctRows

Install = Callable[[Any], bool]
"""Puts one speed-up on a transformer and says whether it applies to it."""


def install(transformer: Any, names: Sequence[Speedup], stg_blocks: Sequence[int]) -> tuple[Speedup, ...]:
    """Put the speed-ups on `transformer`, for good; returns those that apply to it.

    A compiled block cannot ask what a cache holds, so `text_keys` gives way to `compile`.
    """
    ways: dict[Speedup, Install] = {
        Speedup.PREFIX: lambda module: prefix.share(module, stg_blocks),
        Speedup.MASK: mask.drop,
        Speedup.TEXT_KEYS: text_keys.keep,
        Speedup.TIMESTEPS: timesteps.compute_distinct,
        Speedup.CUDNN: kernels.use_cudnn,
        Speedup.COMPILE: compiled.compile_blocks,
    }
    wanted = [name for name in names if not (name is Speedup.TEXT_KEYS and Speedup.COMPILE in names)]
    return tuple(name for name in Speedup if name in wanted and ways[name](transformer))


def forget(transformer: Any) -> None:
    """Let go of all that was kept for the task at hand, so that the memory is free again after it."""
    for module in transformer.modules():
        if isinstance(module, SharedBlocks | KeptLinear | DistinctRows):
            module.forget()
