"""Which speed-ups are on. Knows no torch."""

from collections.abc import Sequence
from enum import StrEnum


class Speedup(StrEnum):
    """The speed-ups by name, in the order in which they are installed."""

    PREFIX = "prefix"
    """The STG pass begins at its block, from what the conditional pass had there."""
    MASK = "mask"
    """A text mask of ones is left out."""
    TEXT_KEYS = "text_keys"
    """Keys and values of the text are kept from step to step. Costs about 2.4 GB with LTX-2 (19B)."""
    TIMESTEPS = "timesteps"
    """Timestep tables are computed once for each distinct timestep."""
    CUDNN = "cudnn"
    """cuDNN's kernel for the picture's self-attention. Not chosen by `auto` until it is measured."""
    COMPILE = "compile"
    """torch.compile on the repeated block. Not chosen by `auto`: the first render of a size takes minutes."""


AUTO = "auto"
OFF = "off"
LESS_WORK = (Speedup.PREFIX, Speedup.MASK, Speedup.TEXT_KEYS, Speedup.TIMESTEPS)
"""What only leaves work out: faster on every card, with no time to warm up."""
SKIPS_NO_MODULE = (Speedup.MASK, Speedup.TIMESTEPS, Speedup.CUDNN)
"""What a streamed transformer bears: there, each block brings in the next, and memory is short."""
ONLY_ON_CUDA = (Speedup.CUDNN, Speedup.COMPILE)


def choose(
    setting: str | Sequence[Speedup], device: str, *, streamed: bool = False, roomy: bool = True
) -> tuple[Speedup, ...]:
    """The speed-ups that a setting means on "cpu" or "cuda", in the order of Speedup.

    `streamed` says that the transformer's blocks come and go, `roomy` that there is GPU memory to spend. `auto` takes
    what leaves work out on CUDA, and nothing on a CPU, where a render is what diffusers' modules make of it to the bit.
    """
    if setting == OFF:
        return ()
    wanted = setting
    if setting == AUTO:
        wanted = [name for name in LESS_WORK if device == "cuda" and (roomy or name is not Speedup.TEXT_KEYS)]
    return tuple(name for name in Speedup if name in wanted and _can(name, device, streamed))


def _can(name: Speedup, device: str, streamed: bool) -> bool:
    return (device == "cuda" or name not in ONLY_ON_CUDA) and (not streamed or name in SKIPS_NO_MODULE)
