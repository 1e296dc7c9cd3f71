"""Which speed-ups are on. Knows no torch."""

from collections.abc import Sequence
from enum import StrEnum


class Optimization(StrEnum):
    """The speed-ups by name, in the order in which they are installed."""

    STG_PREFIX_REUSE = "stg_prefix_reuse"
    """The STG pass begins at its block, from what the conditional pass had there."""
    DROP_NOOP_MASK = "drop_noop_mask"
    """A text mask of ones is left out."""
    TEXT_KV_CACHE = "text_kv_cache"
    """Keys and values of the text are kept from step to step. Costs about 2.4 GB with LTX-2 (19B)."""
    DEDUP_TIMESTEPS = "dedup_timesteps"
    """Timestep tables are computed once for each distinct timestep."""
    CUDNN = "cudnn"
    """cuDNN's kernel for the picture's self-attention. Not chosen by `auto` until it is measured."""
    COMPILE = "compile"
    """torch.compile on the repeated block. Not chosen by `auto`: the first render of a size takes minutes."""


AUTO = "auto"
OFF = "off"
ALWAYS_FASTER = (
    Optimization.STG_PREFIX_REUSE,
    Optimization.DROP_NOOP_MASK,
    Optimization.TEXT_KV_CACHE,
    Optimization.DEDUP_TIMESTEPS,
)
"""What only leaves work out: faster on every card, with no time to warm up."""
SKIPS_NO_MODULE = (Optimization.DROP_NOOP_MASK, Optimization.DEDUP_TIMESTEPS, Optimization.CUDNN)
"""What a streamed transformer bears: there, each block brings in the next, and memory is short."""
ONLY_ON_CUDA = (Optimization.CUDNN, Optimization.COMPILE)


def choose_optimizations(
    setting: str | Sequence[Optimization], device: str, *, streamed: bool = False, roomy: bool = True
) -> tuple[Optimization, ...]:
    """The speed-ups that a setting means on "cpu" or "cuda", in the order of Speedup.

    `streamed` says that the transformer's blocks come and go, `roomy` that there is GPU memory to spend. `auto` takes
    what leaves work out on CUDA, and nothing on a CPU, where a render is what diffusers' modules make of it to the bit.
    """
    if setting == OFF:
        return ()
    wanted = setting
    if setting == AUTO:
        wanted = [
            name for name in ALWAYS_FASTER if device == "cuda" and (roomy or name is not Optimization.TEXT_KV_CACHE)
        ]
    return tuple(name for name in Optimization if name in wanted and _can(name, device, streamed))


def _can(name: Optimization, device: str, streamed: bool) -> bool:
    return (device == "cuda" or name not in ONLY_ON_CUDA) and (not streamed or name in SKIPS_NO_MODULE)
