"""Chooses the optimizations. Does not import torch."""

from collections.abc import Sequence
from enum import StrEnum


class Optimization(StrEnum):
    """The optimizations by name, in the order in which they are installed."""

    STG_PREFIX_REUSE = "stg_prefix_reuse"
    """The STG pass starts at its block, from the hidden states of the conditional pass."""
    FIRST_ATTENTION_REUSE = "first_attention_reuse"
    """The first self-attention of the video is computed once per step, not in each guidance pass."""
    SKIP_CLOSED_GATES = "skip_closed_gates"
    """Attention between video and audio is skipped, and the modality pass with it. Only where its gates are zero."""
    DEDUP_REGISTERS = "dedup_registers"
    """Registers that are repeated in a text stand once in it. Only where the connectors have no layers."""
    DROP_NOOP_MASK = "drop_noop_mask"
    """A text mask of ones is dropped."""
    TEXT_KV_CACHE = "text_kv_cache"
    """Keys and values of the text are kept between steps. Uses about 2.4 GB with LTX-2 (19B)."""
    DEDUP_TIMESTEPS = "dedup_timesteps"
    """Timestep tables are computed once for each distinct timestep."""
    CUDNN = "cudnn"
    """cuDNN's kernel for the video's self-attention. Not in `auto` until it is measured."""
    COMPILE = "compile"
    """torch.compile on the repeated block. Not in `auto`: the first render of a size takes minutes."""


AUTO = "auto"
OFF = "off"
ALWAYS_FASTER = (
    Optimization.STG_PREFIX_REUSE,
    Optimization.FIRST_ATTENTION_REUSE,
    Optimization.SKIP_CLOSED_GATES,
    Optimization.DEDUP_REGISTERS,
    Optimization.DROP_NOOP_MASK,
    Optimization.TEXT_KV_CACHE,
    Optimization.DEDUP_TIMESTEPS,
)
"""Optimizations that only skip work: faster without a warm-up, on every device that has them."""
SKIPS_NO_MODULE = (Optimization.DROP_NOOP_MASK, Optimization.DEDUP_TIMESTEPS, Optimization.CUDNN)
"""Optimizations that a streamed transformer supports. There each block prefetches the next, and memory is scarce."""
ONLY_ON_CUDA = (Optimization.CUDNN, Optimization.COMPILE)
ONLY_ON_CPU = (Optimization.FIRST_ATTENTION_REUSE,)
"""Optimizations that compare tensors, which a GPU would have to wait for."""


def choose_optimizations(
    setting: str | Sequence[Optimization], device: str, *, streamed: bool = False, roomy: bool = True
) -> tuple[Optimization, ...]:
    """The optimizations that a setting means on "cpu" or "cuda", in the order of Optimization.

    `streamed`: the transformer's blocks are streamed. `roomy`: there is spare memory. `auto` means those that only
    skip work.
    """
    if setting == OFF:
        return ()
    wanted = setting
    if setting == AUTO:
        wanted = [name for name in ALWAYS_FASTER if roomy or name is not Optimization.TEXT_KV_CACHE]
    return tuple(name for name in Optimization if name in wanted and _can(name, device, streamed))


def _can(name: Optimization, device: str, streamed: bool) -> bool:
    elsewhere = ONLY_ON_CPU if device == "cuda" else ONLY_ON_CUDA
    return name not in elsewhere and (not streamed or name in SKIPS_NO_MODULE)
