"""Puts a loaded pipeline where its placement says, with diffusers' own means. Knows no Ray."""

from typing import TYPE_CHECKING, Any

from models.placement import STREAMED, TRANSFORMER, Place, Placement, Weights

if TYPE_CHECKING:
    from torch import Tensor


def apply(pipe: Any, placement: Placement, device: str = "cuda") -> None:
    """Move the components of `pipe`. `device` "cpu" stands for a GPU in tests: the same hooks, without streams."""
    import torch

    from models import transfer

    if placement.weights is Weights.FP8:
        pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    if placement.place is Place.CPU:
        return
    for name in STREAMED[placement.place]:
        if isinstance(component := pipe.components.get(name), torch.nn.Module):
            _let_pass(name, component, torch.device(device))
    transfer.to_device(resident_weights(pipe, placement), torch.device(device))


def resident_weights(pipe: Any, placement: Placement) -> "list[Tensor]":
    """The weights that stay on the GPU: those of the components that do not pass through it."""
    import torch

    from models.transfer import weights_of

    if placement.place is Place.CPU:
        return []
    passing = STREAMED[placement.place]
    modules = {name: value for name, value in pipe.components.items() if isinstance(value, torch.nn.Module)}
    return weights_of(module for name, module in modules.items() if name not in passing)


def _let_pass(name: str, component: Any, device: Any) -> None:
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
        low_cpu_mem_usage=streams,
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
