"""Puts speed-ups on a loaded transformer."""

from collections.abc import Callable, Sequence
from typing import Any

from models.optimizations import compiled, kernels, mask, stg_prefix, text_kv_cache, timesteps
from models.optimizations.selection import Optimization
from models.optimizations.stg_prefix import PrefixReuseBlocks
from models.optimizations.text_kv_cache import CachedLinear
from models.optimizations.timesteps import DistinctRows

Install = Callable[[Any], bool]
"""Puts one speed-up on a transformer and says whether it applies to it."""


def install(transformer: Any, names: Sequence[Optimization], stg_blocks: Sequence[int]) -> tuple[Optimization, ...]:
    """Put the speed-ups on `transformer`, for good; returns those that apply to it.

    A compiled block cannot ask what a cache holds, so `text_kv_cache` gives way to `compile`.
    """
    ways: dict[Optimization, Install] = {
        Optimization.STG_PREFIX_REUSE: lambda module: stg_prefix.install_prefix_reuse(module, stg_blocks),
        Optimization.DROP_NOOP_MASK: mask.install_mask_drop,
        Optimization.TEXT_KV_CACHE: text_kv_cache.install_text_kv_cache,
        Optimization.DEDUP_TIMESTEPS: timesteps.install_timestep_dedup,
        Optimization.CUDNN: kernels.use_cudnn,
        Optimization.COMPILE: compiled.compile_blocks,
    }
    wanted = [name for name in names if not (name is Optimization.TEXT_KV_CACHE and Optimization.COMPILE in names)]
    return tuple(name for name in Optimization if name in wanted and ways[name](transformer))


def clear_caches(transformer: Any) -> None:
    """Let go of all that was kept for the task at hand, so that the memory is free again after it."""
    for module in transformer.modules():
        if isinstance(module, PrefixReuseBlocks | CachedLinear | DistinctRows):
            module.clear_cache()
