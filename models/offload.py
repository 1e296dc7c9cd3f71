"""Puts a loaded pipeline where its placement says, with diffusers' own means. Knows no Ray."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from models.host_memory import pinnable_bytes
from models.placement import STREAMED, TRANSFORMER, Place, Placement, Weights

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def apply(pipe: Any, placement: Placement, device: str = "cuda") -> Placement:
    """Move the components of `pipe`, and return how they stand then.

    `device` "cpu" stands for a GPU in tests: the same hooks, without streams and pinned memory.
    """
    import torch

    from models import transfer

    if placement.weights is Weights.FP8:
        pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    if placement.place is Place.CPU:
        return placement
    passing = _modules(pipe, STREAMED[placement.place])
    sizes = {name: sum(weight.nbytes for weight in transfer.weights_of([each])) for name, each in passing.items()}
    pinned = choose_pinned(sizes, pinnable_bytes()) if device == "cuda" else frozenset()
    for name, component in passing.items():
        _let_pass(name, component, torch.device(device), pinned=name in pinned)
    transfer.to_device(resident_weights(pipe, placement), torch.device(device))
    return placement.with_pinned(pinned)


def choose_pinned(sizes: Mapping[str, int], room_bytes: int) -> frozenset[str]:
    """The components, by their bytes, that are to wait in pinned memory, of which there is so much.

    The transformer first, which passes at every call. What is not pinned is copied into pinned memory each time that
    it passes, and nothing is computed meanwhile.
    """
    chosen = set()
    for name in sorted(sizes, key=lambda name: (name != TRANSFORMER, -sizes[name])):
        if sizes[name] <= room_bytes:
            chosen.add(name)
            room_bytes -= sizes[name]
    return frozenset(chosen)


def resident_weights(pipe: Any, placement: Placement) -> "list[Tensor]":
    """The weights that stay on the GPU: those of the components that do not pass through it."""
    from models.transfer import weights_of

    if placement.place is Place.CPU:
        return []
    passing = STREAMED[placement.place]
    return weights_of(_modules(pipe, [name for name in pipe.components if name not in passing]).values())


def _modules(pipe: Any, names: Iterable[str]) -> "dict[str, Module]":
    """Those of the components by these names that have weights."""
    import torch

    found = {name: pipe.components.get(name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, torch.nn.Module)}


def _let_pass(name: str, component: Any, device: Any, *, pinned: bool) -> None:
    """Keep a component in host memory and bring its parts to `device` as they are called.

    The transformer by blocks, each bringing in the next while it works: its calls differ in the layers that they skip,
    and by layers the one after a skipped layer would be missing.
    """
    import torch
    from diffusers.hooks import apply_group_offloading

    streams = device.type == "cuda"
    level: dict[str, Any] = {"offload_type": "leaf_level"}
    if name == TRANSFORMER:
        level = {"offload_type": "block_level", "num_blocks_per_group": 1}
    apply_group_offloading(
        component,
        onload_device=device,
        offload_device=torch.device("cpu"),
        use_stream=streams,
        low_cpu_mem_usage=streams and not pinned,
        **level,
    )


def free_vram_bytes() -> int:
    """Free memory on the current CUDA device."""
    import torch

    return int(torch.cuda.mem_get_info()[0])


def card_bytes() -> int:
    """All the memory of the current CUDA device."""
    import torch

    return int(torch.cuda.mem_get_info()[1])
