"""Puts a loaded pipeline where its placement says, with diffusers' own means. Knows no Ray."""

from typing import Any

from models.placement import STREAMED, TRANSFORMER, Place, Placement, Weights


def apply(pipe: Any, placement: Placement, device: str = "cuda") -> None:
    """Move the components of `pipe`. `device` "cpu" stands for a GPU in tests: the same hooks, without streams."""
    import torch

    if placement.weights is Weights.FP8:
        pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    if placement.place is Place.CPU:
        return
    passing = STREAMED[placement.place]
    for name, component in pipe.components.items():
        if not isinstance(component, torch.nn.Module):
            continue
        if name in passing:
            _let_pass(name, component, torch.device(device))
        else:
            component.to(device)


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
