"""Installs optimizations on a loaded transformer."""

from collections.abc import Callable, Sequence
from typing import Any

from models.optimizations import (
    closed_gates,
    compiled,
    first_attention,
    mask,
    registers,
    stg_prefix,
    text_kv_cache,
    timesteps,
)
from models.optimizations import compiled as kernels
from models.optimizations.closed_gates import ClosedGates
from models.optimizations.first_attention import FirstAttention
from models.optimizations.selection import Optimization
from models.optimizations.stg_prefix import PrefixReuseBlocks
from models.optimizations.text_kv_cache import CachedLinear
from models.optimizations.timesteps import DistinctRows

Install = Callable[[Any], bool]
"""Installs one optimization on a transformer. Returns whether it applies to that transformer."""


def install(
    transformer: Any, names: Sequence[Optimization], stg_blocks: Sequence[int], connectors: Any = None
) -> tuple[Optimization, ...]:
    """Install the optimizations on `transformer`, permanently. Return those that apply to it.

    `dedup_registers` changes the `connectors`, and is skipped without them. `text_kv_cache` is skipped with `compile`:
    compiled code cannot check the state of a cache.
    """
    ways: dict[Optimization, Install] = {
        Optimization.STG_PREFIX_REUSE: lambda module: stg_prefix.install_prefix_reuse(module, stg_blocks),
        Optimization.FIRST_ATTENTION_REUSE: first_attention.install_first_attention_reuse,
        Optimization.SKIP_CLOSED_GATES: closed_gates.install_closed_gates,
        Optimization.DEDUP_REGISTERS: lambda _: connectors is not None and registers.install_register_dedup(connectors),
        Optimization.DROP_NOOP_MASK: mask.install_mask_drop,
        Optimization.TEXT_KV_CACHE: text_kv_cache.install_text_kv_cache,
        Optimization.DEDUP_TIMESTEPS: timesteps.install_timestep_dedup,
        Optimization.CUDNN: kernels.use_cudnn,
        Optimization.COMPILE: compiled.compile_blocks,
    }
    wanted = [name for name in names if not (name is Optimization.TEXT_KV_CACHE and Optimization.COMPILE in names)]
    return tuple(name for name in Optimization if name in wanted and ways[name](transformer))


def clear_caches(transformer: Any) -> None:
    """Drop everything cached for the current task, to free the memory."""
    for module in transformer.modules():
        if isinstance(module, PrefixReuseBlocks | FirstAttention | ClosedGates | CachedLinear | DistinctRows):
            module.clear_cache()
